package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
)

// digits are the held-out pictures with their labels.
type digits struct {
	pixels   []float32 // 64 for each picture
	labels   []int64
	reported int // right answers, as the training script reported
}

const pixelsPerDigit = 64

func readDigits(dir string) (*digits, error) {
	d := new(digits)
	images, err := readArray(filepath.Join(dir, "images.npy"), "<f4")
	if err != nil {
		return nil, err
	}
	for ; len(images) >= 4; images = images[4:] {
		d.pixels = append(d.pixels, math.Float32frombits(binary.LittleEndian.Uint32(images)))
	}
	labels, err := readArray(filepath.Join(dir, "labels.npy"), "<i8")
	if err != nil {
		return nil, err
	}
	for ; len(labels) >= 8; labels = labels[8:] {
		d.labels = append(d.labels, int64(binary.LittleEndian.Uint64(labels)))
	}
	b, err := os.ReadFile(filepath.Join(dir, "report.json"))
	if err != nil {
		return nil, fmt.Errorf("read the training report: %w", err)
	}
	var report struct{ Correct int }
	if err := json.Unmarshal(b, &report); err != nil {
		return nil, fmt.Errorf("read the training report: %w", err)
	}
	d.reported = report.Correct
	if len(d.pixels) != pixelsPerDigit*len(d.labels) {
		return nil, fmt.Errorf("there are %d pixels for %d labels", len(d.pixels), len(d.labels))
	}
	return d, nil
}

// readArray returns the elements of a file of this repository, written by
// numpy.save (format version 1).
func readArray(path, element string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the held-out digits: %w", err)
	}
	if len(b) < headerAt || string(b[:8]) != "\x93NUMPY\x01\x00" {
		return nil, fmt.Errorf("%s is not an array as numpy.save writes it", path)
	}
	end := headerAt + int(binary.LittleEndian.Uint16(b[8:]))
	if end > len(b) || !bytes.Contains(b[headerAt:end], []byte("'descr': '"+element+"', 'fortran_order': False")) {
		return nil, fmt.Errorf("%s does not hold elements of type %s, row by row", path, element)
	}
	return b[end:], nil
}

// headerAt is where the header of a .npy file begins: after the magic word, the
// version and the header's length.
const headerAt = 10

// write puts some of the pictures into a file of their own, as F32 [n 64].
func (d *digits) write(path string, from, to int) error {
	header := fmt.Sprintf("{'descr': '<f4', 'fortran_order': False, 'shape': (%d, %d), }", to-from, pixelsPerDigit)
	for (headerAt+len(header)+1)%64 != 0 {
		header += " "
	}
	header += "\n"
	b := append([]byte("\x93NUMPY\x01\x00"), byte(len(header)), byte(len(header)>>8))
	b = append(b, header...)
	for _, v := range d.pixels[from*pixelsPerDigit : to*pixelsPerDigit] {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		return fmt.Errorf("write the input: %w", err)
	}
	return nil
}
