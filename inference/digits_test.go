package inference

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/fxamacker/cbor/v2"
)

// TestDigits runs every held-out picture through a server and counts what it gets right, which has
// to be exactly what the training script reported. It uploads the model as the Python client does,
// as an array of integers.
func TestDigits(t *testing.T) {
	folder := filepath.Join("..", "testdata", "digits")
	read := func(name string) []byte {
		t.Helper()
		b, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	var report struct {
		HeldOut int `json:"held_out"`
		Correct int `json:"correct"`
	}
	if err := json.Unmarshal(read("report.json"), &report); err != nil {
		t.Fatal(err)
	}
	images, labels := afterHeader(read("images.npy")), afterHeader(read("labels.npy"))
	if report.HeldOut == 0 || len(images) != report.HeldOut*64*4 || len(labels) != report.HeldOut*8 {
		t.Fatalf("%d samples in the report, %d bytes of images, %d of labels", report.HeldOut, len(images), len(labels))
	}

	c := start(t, Config{})
	model := read("digits.onnx")
	var uploaded uploadReply
	if refused := c.ask(c.manage+"/upload", uploadOf(cbor.RawMessage(array(model)), len(model)), &uploaded); refused != "" {
		t.Fatal(refused)
	}

	for _, batch := range []int{1, 7, report.HeldOut} {
		correct, at := 0, 0
		for at < report.HeldOut {
			n := min(batch, report.HeldOut-at)
			outputs, refused := c.infer(uploaded.ModelID, object{
				"info":       object{"fact": []int{n, 64}, "datum_type": 0, "node_name": "image"},
				"bytes_data": images[at*64*4 : (at+n)*64*4],
			})
			if refused != "" {
				t.Fatal(refused)
			}
			digit, probabilities := outputs[0], outputs[1]
			if digit.Info.NodeName != "digit" || probabilities.Info.NodeName != "probabilities" {
				t.Fatalf("the outputs are %q and %q", digit.Info.NodeName, probabilities.Info.NodeName)
			}
			for i := range n {
				if bytes.Equal(digit.Data[i*8:(i+1)*8], labels[(at+i)*8:(at+i+1)*8]) {
					correct++
				}
				sum := 0.0
				for j := range 10 {
					bits := binary.LittleEndian.Uint32(probabilities.Data[(i*10+j)*4:])
					sum += float64(math.Float32frombits(bits))
				}
				if math.Abs(sum-1) > 1e-5 {
					t.Errorf("the probabilities of sample %d add up to %v", at+i, sum)
				}
			}
			at += n
		}
		if correct != report.Correct {
			t.Errorf("in batches of %d: %d of %d correct, the training script reported %d",
				batch, correct, report.HeldOut, report.Correct)
		}
	}
}

// afterHeader returns the data of an .npy file of version 1.
func afterHeader(file []byte) []byte {
	return file[10+int(binary.LittleEndian.Uint16(file[8:])):]
}
