package main

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/blindai-go/blindai/inference"
)

// libraryVariable names the ONNX Runtime library.
const libraryVariable = "BLINDAI_ONNXRUNTIME"

// repository returns the folder that has go.work.
func repository(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for dir != filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.work")); err == nil {
			return dir
		}
		dir = filepath.Dir(dir)
	}
	t.Fatal("no folder above has go.work")
	return ""
}

// startServer runs a server on free ports until the test ends, and returns the flags by which
// commands find it.
func startServer(t *testing.T) (unattested, run, manage string) {
	t.Helper()
	if os.Getenv(libraryVariable) == "" {
		library := filepath.Join(repository(t), "bin", "libonnxruntime.so")
		if _, err := os.Stat(library); err != nil {
			t.Fatal("this test needs ONNX Runtime: run `make build` first, or set ", libraryVariable)
		}
		t.Setenv(libraryVariable, library)
	}
	server, err := inference.New(inference.Config{
		UnattestedAddr: "127.0.0.1:0", RunAddr: "127.0.0.1:0", ManageAddr: "127.0.0.1:0",
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Listen(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve() }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		server.Shutdown(ctx)
		<-ended
	})
	flag := func(name string, addr net.Addr) string {
		_, port, err := net.SplitHostPort(addr.String())
		if err != nil {
			t.Fatal(err)
		}
		return name + "=" + port
	}
	addrs := server.Addrs()
	return flag("--unattested-port", addrs.Unattested), flag("--run-port", addrs.Run), flag("--manage-port", addrs.Manage)
}

// execute runs a command as main does, and returns what it prints.
func execute(t *testing.T, cmd *cobra.Command, args ...string) (stdout string, err error) {
	t.Helper()
	var out, complaints bytes.Buffer
	cmd.SetArgs(args)
	cmd.SetOut(&out)
	cmd.SetErr(&complaints)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	err = cmd.ExecuteContext(t.Context())
	if complaints.Len() > 0 {
		t.Errorf("on standard error, which is no terminal: %q", complaints.String())
	}
	if err != nil && out.Len() > 0 {
		t.Errorf("on standard output, beside the error %v: %q", err, out.String())
	}
	return out.String(), err
}

// must is execute for what has to succeed.
func must(t *testing.T, cmd *cobra.Command, args ...string) string {
	t.Helper()
	out, err := execute(t, cmd, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// fails is execute for what has to fail with these words.
func fails(t *testing.T, want string, cmd *cobra.Command, args ...string) {
	t.Helper()
	_, err := execute(t, cmd, args...)
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("the error is %v, want it to say %q", err, want)
	}
}

// model returns the path of a model of the inference room, or of the digits.
func model(t *testing.T, name string) string {
	if name == "digits" {
		return filepath.Join(repository(t), "testdata", "digits", "digits.onnx")
	}
	return filepath.Join(repository(t), "inference", "testdata", name+".onnx")
}

var idPattern = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\n$`)

func TestUploadCommand(t *testing.T) {
	unattested, _, manage := startServer(t)
	out := must(t, newUploadCommand(), unattested, manage, model(t, "digits"))
	if !idPattern.MatchString(out) {
		t.Errorf("it prints %q, want an id alone on a line", out)
	}
	again := must(t, newUploadCommand(), unattested, manage, "--optimize=false", "--name", "mine", model(t, "digits"))
	if again == out {
		t.Error("two uploads have the same id")
	}
	out = must(t, newUploadCommand(), unattested, manage, "--json", model(t, "digits"))
	if !regexp.MustCompile(`^{"hash":"[0-9a-f]{64}","model_id":"[0-9a-f-]{36}"}\n$`).MatchString(out) {
		t.Errorf("as JSON it prints %q", out)
	}

	empty := filepath.Join(t.TempDir(), "empty.onnx")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	fails(t, "client_test.go: the server refuses: The model cannot be used: Failed to load model because protobuf parsing failed",
		newUploadCommand(), unattested, manage, "client_test.go")
	fails(t, `output "y" holds float16`, newUploadCommand(), unattested, manage, model(t, "half"))
	fails(t, "is empty", newUploadCommand(), unattested, manage, empty)
	fails(t, "no such file", newUploadCommand(), unattested, manage, "missing.onnx")
	fails(t, "accepts 1 arg", newUploadCommand(), unattested, manage)
}

func TestRunCommand(t *testing.T) {
	unattested, run, manage := startServer(t)
	upload := func(name string) string {
		return strings.TrimSpace(must(t, newUploadCommand(), unattested, manage, model(t, name)))
	}
	scalarFile := func(value byte) string {
		path := filepath.Join(t.TempDir(), "scalar.npy")
		if err := writeNPY(path, array{kind: 3, data: []byte{value, 0, 0, 0, 0, 0, 0, 0}}); err != nil {
			t.Fatal(err)
		}
		return path
	}
	subtract, digits := upload("subtract"), upload("digits")
	fifty, eight := scalarFile(50), scalarFile(8)
	images, err := readNPY(filepath.Join(repository(t), "testdata", "digits", "images.npy"))
	if err != nil {
		t.Fatal(err)
	}
	labels, err := readNPY(filepath.Join(repository(t), "testdata", "digits", "labels.npy"))
	if err != nil {
		t.Fatal(err)
	}
	picture := filepath.Join(t.TempDir(), "picture.npy")
	if err := writeNPY(picture, array{shape: []int64{1, 64}, data: images.data[:64*4]}); err != nil {
		t.Fatal(err)
	}

	for _, tt := range []struct {
		name string
		args []string
		want string
	}{
		{"by position", []string{"--input", fifty, "--input", eight}, "difference I64 []: 42\n"},
		{"by name, swapped", []string{"--input", "subtrahend=" + eight, "--input", "minuend=" + fifty}, "difference I64 []: 42\n"},
		{"a name left empty", []string{"--input", "=" + fifty, "--input", "=" + eight}, "difference I64 []: 42\n"},
		{"as JSON", []string{"--json", "--input", fifty, "--input", eight},
			`{"outputs":[{"name":"difference","type":"I64","shape":[],"data":[42]}]}` + "\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			args := append([]string{unattested, run, subtract}, tt.args...)
			if got := must(t, newRunCommand(), args...); got != tt.want {
				t.Errorf("it prints %q, want %q", got, tt.want)
			}
		})
	}

	t.Run("reads a digit", func(t *testing.T) {
		got := must(t, newRunCommand(), unattested, run, digits, "--input", picture)
		want := regexp.MustCompile(`^digit I64 \[1\]: (\d)\nprobabilities F32 \[1 10\]:( \S+){10}\n$`)
		match := want.FindStringSubmatch(got)
		if match == nil {
			t.Fatalf("it prints %q", got)
		}
		if int64(match[1][0]-'0') != labels.element(0) {
			t.Errorf("it reads %s, the picture shows %v", match[1], labels.element(0))
		}
	})
	t.Run("by hash", func(t *testing.T) {
		out := must(t, newUploadCommand(), unattested, manage, "--json", model(t, "subtract"))
		hash := regexp.MustCompile(`[0-9a-f]{64}`).FindString(out)
		if got := must(t, newRunCommand(), unattested, run, hash, "--input", fifty, "--input", eight); got != "difference I64 []: 42\n" {
			t.Errorf("it prints %q", got)
		}
	})
	t.Run("writes outputs", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "made", "on the way")
		file := filepath.Join(t.TempDir(), "digit.npy")
		out := must(t, newRunCommand(), unattested, run, digits, "--input", picture, "--output-dir", dir, "--output", "digit="+file)
		if !strings.Contains(out, "-> "+file) {
			t.Errorf("it does not say that it wrote: %q", out)
		}
		for path, want := range map[string]string{
			file:                                    "I64 [1]",
			filepath.Join(dir, "digit.npy"):         "I64 [1]",
			filepath.Join(dir, "probabilities.npy"): "F32 [1 10]",
		} {
			a, err := readNPY(path)
			if err != nil {
				t.Error(err)
			} else if got := describe(a); !strings.HasPrefix(got, want) {
				t.Errorf("%s holds %s, want %s", path, got, want)
			}
		}
		single := filepath.Join(t.TempDir(), "difference.npy")
		must(t, newRunCommand(), unattested, run, subtract, "--input", fifty, "--input", eight, "--output", single)
		if a, err := readNPY(single); err != nil || describe(a) != "I64 [] 42" {
			t.Errorf("the only output, not named: %v, %v", a, err)
		}
	})
	t.Run("refuses", func(t *testing.T) {
		for _, tt := range []struct {
			name string
			want string
			args []string
		}{
			{"an unknown id", "Model doesn't exist; upload it again", []string{"01234567-89ab-4def-8123-456789abcdef", "--input", fifty}},
			{"an id that is none", "Model doesn't exist", []string{"my-model", "--input", fifty}},
			{"too few inputs", "the server refuses: the model wants 2 inputs", []string{subtract, "--input", fifty}},
			{"a wrong shape", `input "minuend" has shape [2 3], the model wants []`, []string{subtract, "--input", npyFile("i8"), "--input", fifty}},
			{"a wrong type", `input "minuend" has type Bool, the model wants I64`, []string{subtract, "--input", npyFile("scalar_bool"), "--input", fifty}},
			{"a wrong name", "has a name that the model does not have", []string{subtract, "--input", "x=" + fifty, "--input", fifty}},
			{"a file that is none", "no such file", []string{subtract, "--input", "missing.npy"}},
			{"a file of another format", "not an .npy file", []string{subtract, "--input", model(t, "subtract")}},
			{"no input", `required flag(s) "input" not set`, []string{subtract}},
			{"an output that is not there", `they are "digit", "probabilities"`, []string{digits, "--input", picture, "--output", "colour=x.npy"}},
			{"an output without a name", `they are "digit", "probabilities"`, []string{digits, "--input", picture, "--output", "x.npy"}},
		} {
			t.Run(tt.name, func(t *testing.T) {
				fails(t, tt.want, newRunCommand(), append([]string{unattested, run}, tt.args...)...)
			})
		}
	})
}

func TestDeleteCommand(t *testing.T) {
	unattested, run, manage := startServer(t)
	id := strings.TrimSpace(must(t, newUploadCommand(), unattested, manage, model(t, "subtract")))
	if out := must(t, newDeleteCommand(), unattested, manage, id); out != "" {
		t.Errorf("it prints %q", out)
	}
	fails(t, "Model doesn't exist", newDeleteCommand(), unattested, manage, id)
	fails(t, "Model doesn't exist", newRunCommand(), unattested, run, id, "--input", npyFile("scalar"))
	fails(t, "not a UUID; give the id that upload returned", newDeleteCommand(), unattested, manage, "my-model")

	id = strings.TrimSpace(must(t, newUploadCommand(), unattested, manage, model(t, "subtract")))
	if out := must(t, newDeleteCommand(), unattested, manage, "--json", id); out != `{"deleted":"`+id+`"}`+"\n" {
		t.Errorf("as JSON it prints %q", out)
	}
}

// What is not the server that the user means must get neither a model nor an input.
func TestConnectRefuses(t *testing.T) {
	unattested, _, manage := startServer(t)
	otherUnattested, otherRun, otherManage := startServer(t)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closedPort := closed.Addr().String()[len("127.0.0.1:"):]
	closed.Close()
	strange := func(server, body string) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Server", server)
			w.Write([]byte(body))
		}))
		t.Cleanup(s.Close)
		return "--unattested-port=" + s.URL[strings.LastIndex(s.URL, ":")+1:]
	}
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and never says a word
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	silentPort := silent.Addr().String()[len("127.0.0.1:"):]

	for _, tt := range []struct {
		name string
		want string
		args []string
	}{
		{"nobody", "no server answers on 127.0.0.1:" + closedPort + " (connection refused); start one with `blindai serve`",
			[]string{"--unattested-port=" + closedPort}},
		{"nobody on the other port", "connection refused", []string{unattested, "--manage-port=" + closedPort}},
		{"the certificate of another server", "does not have the certificate", []string{otherUnattested, manage}},
		{"another certificate than that of the server", "does not have the certificate", []string{unattested, otherManage}},
		{"the port for runs", "status 404; is it the right port", []string{otherUnattested, strings.Replace(otherRun, "run", "manage", 1)}},
		{"some web server", "is not a BlindAI server", []string{strange("nginx", "hello")}},
		{"no certificate", "is not a BlindAI server", []string{strange("blindai mock (testing)", "hello")}},
		{"a certificate that is none", "is not a BlindAI server", []string{strange("blindai mock (testing)", "\x42hi")}},
		{"an enclave, which cannot be verified yet", "hardware mode", []string{strange("blindai", "\x42hi")}},
		{"a URL", "without http://", []string{"--server", "http://127.0.0.1"}},
		{"a host with a port", "ports have flags of their own", []string{"--server", "127.0.0.1:9923"}},
		{"no host", "wants the name", []string{"--server", ""}},
		{"a server that never answers", "within 100ms; allow more with --timeout",
			[]string{unattested, "--manage-port=" + silentPort, "--timeout=100ms"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fails(t, tt.want, newUploadCommand(), append(tt.args, model(t, "subtract"))...)
		})
	}
}

// Names of outputs come from whoever made the model.
func TestOutputNames(t *testing.T) {
	for name, want := range map[string]string{
		"digit":                   "digit",
		"layer/1:0":               "layer_1_0",
		"../../etc/passwd":        "_.._etc_passwd",
		"..":                      "",
		".bashrc":                 "bashrc",
		"":                        "",
		"été":                     "_t_",
		strings.Repeat("x", 5000): strings.Repeat("x", 100),
	} {
		if got := fileName(name); got != want {
			t.Errorf("the file for %q is %q, want %q", name, got, want)
		}
	}
	results := []*result{{name: "a/b"}, {name: "a:b"}, {name: ""}}
	if err := place(results, nil, t.TempDir()); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"a_b.npy", "output_1.npy", "output_2.npy"} {
		if got := filepath.Base(results[i].files[0]); got != want {
			t.Errorf("output %d goes to %q, want %q", i, got, want)
		}
	}
	if got := printable("a\x1b[31mb"); strings.Contains(got, "\x1b") {
		t.Errorf("a name reaches the terminal as %q", got)
	}
}

func TestSummary(t *testing.T) {
	f32 := func(values ...byte) []byte { return values }
	for _, tt := range []struct {
		array array
		text  string
		json  string
	}{
		{array{kind: 0, shape: []int64{1}, data: f32(0xcd, 0xcc, 0xcc, 0x3d)},
			"x F32 [1]: 0.1", `{"name":"x","type":"F32","shape":[1],"data":[0.1]}`},
		{array{kind: 0, shape: []int64{2}, data: f32(0, 0, 0xc0, 0x7f, 0, 0, 0x80, 0xff)},
			"x F32 [2]: NaN -Inf", `{"name":"x","type":"F32","shape":[2],"data":["NaN","-Inf"]}`},
		{array{kind: 10, shape: []int64{2}, data: []byte{0, 1}},
			"x Bool [2]: false true", `{"name":"x","type":"Bool","shape":[2],"data":[false,true]}`},
		{array{kind: 5, shape: []int64{}, data: []byte{255, 255, 255, 255, 255, 255, 255, 255}},
			"x U64 []: 18446744073709551615", `{"name":"x","type":"U64","shape":[],"data":[18446744073709551615]}`},
		{array{kind: 6, shape: []int64{0}}, "x U8 [0]:", `{"name":"x","type":"U8","shape":[0],"data":[]}`},
		{array{kind: 6, shape: []int64{18}, data: make([]byte, 18)},
			"x U8 [18]:" + strings.Repeat(" 0", 16) + " and 2 more",
			`{"name":"x","type":"U8","shape":[18],"data":[` + strings.Repeat("0,", 17) + `0]}`},
	} {
		r := &result{array: tt.array, name: "x"}
		if got := r.summary(); got != tt.text {
			t.Errorf("the summary is %q, want %q", got, tt.text)
		}
		if got, err := r.MarshalJSON(); err != nil || string(got) != tt.json {
			t.Errorf("the JSON is %s (%v), want %s", got, err, tt.json)
		}
	}
}
