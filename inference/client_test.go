package inference

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
)

// A client talks to a running server as the Python client does: it fetches the certificate over
// plain HTTP and trusts nothing else after that.
type client struct {
	t      testing.TB
	server *Server
	heard  *ear
	http   *http.Client

	unattested, run, manage string // URLs
}

// An ear is told what happens, in place of telemetry.
type ear struct {
	starts, runs, sends, bytes atomic.Int64
}

func (e *ear) Started()             { e.starts.Add(1) }
func (e *ear) RunModel()            { e.runs.Add(1) }
func (e *ear) SendModel(size int64) { e.sends.Add(1); e.bytes.Add(size) }

// start runs a server on free ports until the test ends.
func start(t testing.TB, config Config) *client {
	t.Helper()
	config.UnattestedAddr, config.RunAddr, config.ManageAddr = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	server, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	heard := new(ear)
	server.events = heard
	if err := server.Listen(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve() }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		server.Shutdown(ctx)
		if err := <-ended; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	addrs := server.Addrs()
	c := &client{
		t: t, server: server, heard: heard,
		unattested: "http://" + addrs.Unattested.String(),
		run:        "https://" + addrs.Run.String(),
		manage:     "https://" + addrs.Manage.String(),
	}
	roots := x509.NewCertPool()
	roots.AddCert(c.certificate())
	transport := &http.Transport{
		TLSClientConfig:     &tls.Config{RootCAs: roots, ServerName: ServerName},
		MaxIdleConnsPerHost: 16,
	}
	t.Cleanup(transport.CloseIdleConnections)
	c.http = &http.Client{Transport: transport}
	return c
}

// certificate fetches what the server says is its certificate.
func (c *client) certificate() *x509.Certificate {
	c.t.Helper()
	response, err := http.Get(c.unattested + "/")
	if err != nil {
		c.t.Fatal(err)
	}
	defer response.Body.Close()
	var der []byte
	if err := cbor.NewDecoder(response.Body).Decode(&der); err != nil {
		c.t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		c.t.Fatal(err)
	}
	return certificate
}

// post sends a body as it is and returns the status and the body of the answer.
func (c *client) post(url string, body []byte) (int, []byte) {
	c.t.Helper()
	response, err := c.http.Post(url, "", bytes.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	if got := response.Header.Get("Content-Type"); len(answer) > 0 && got != "application/cbor" {
		c.t.Errorf("the answer has content type %q", got)
	}
	return response.StatusCode, answer
}

// ask posts value as CBOR. If the server answers 200 the answer goes into reply, and refused is
// empty; otherwise it is the server's text.
func (c *client) ask(url string, value, reply any) (refused string) {
	c.t.Helper()
	status, answer := c.post(url, encode(value))
	switch status {
	case http.StatusOK:
		if err := cbor.Unmarshal(answer, reply); err != nil {
			c.t.Fatal(err)
		}
		return ""
	case http.StatusInternalServerError:
		if err := cbor.Unmarshal(answer, &refused); err != nil {
			c.t.Fatalf("an error that is not a CBOR text: %v", err)
		}
		if refused == "" {
			c.t.Fatal("an error without a text")
		}
		return refused
	}
	c.t.Fatalf("status %d", status)
	return ""
}

// object is a CBOR map.
type object map[string]any

// clientInfo is what clients send along. Nothing of it may show up anywhere.
var clientInfo = object{
	"uid": "5c0f", "platform_name": "Plan 9", "platform_arch": "pdp11", "platform_version": "4",
	"platform_release": "4", "user_agent": "blindai_python", "user_agent_version": "0.6.3", "is_colab": false,
}

func uploadOf(model any, length int) object {
	return object{
		"model": model, "length": length, "model_name": "a secret name",
		"optimize": true, "client_info": clientInfo,
	}
}

// upload sends a model of the testdata folder and returns its id and hash.
func (c *client) upload(name string) (id string, hash []byte) {
	c.t.Helper()
	model := modelFile(c.t, name)
	var reply uploadReply
	if refused := c.ask(c.manage+"/upload", uploadOf(model, len(model)), &reply); refused != "" {
		c.t.Fatal(refused)
	}
	return reply.ModelID, reply.Hash
}

func runOf(id, hash string, inputs ...object) object {
	return object{"model_id": id, "model_hash": hash, "inputs": inputs, "client_info": clientInfo}
}

// infer runs a model by its id.
func (c *client) infer(id string, inputs ...object) (outputs []wireTensor, refused string) {
	c.t.Helper()
	var reply runReply
	refused = c.ask(c.run+"/run", runOf(id, "", inputs...), &reply)
	return reply.Outputs, refused
}

// delete forgets an id.
func (c *client) delete(id string) (refused string) {
	c.t.Helper()
	var null any
	return c.ask(c.manage+"/delete", object{"model_id": id}, &null)
}

// tensor is one input. datumType is a number or a name; name may be nil.
func tensor(datumType, name any, shape []int, elements any) object {
	var data bytes.Buffer
	if err := binary.Write(&data, binary.LittleEndian, elements); err != nil {
		panic(err)
	}
	if shape == nil {
		shape = []int{}
	}
	return object{
		"info":       object{"fact": shape, "datum_type": datumType, "node_name": name},
		"bytes_data": data.Bytes(),
	}
}

// scalar is an I64 of rank 0 as the Python client sends it.
func scalar(name any, value int64) object { return tensor(3, name, nil, value) }

func encode(value any) []byte {
	b, err := cbor.Marshal(value)
	if err != nil {
		panic(err)
	}
	return b
}

func modelFile(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name+".onnx"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// says fails the test unless a refusal has the words.
func says(t testing.TB, refused, words string) {
	t.Helper()
	if !strings.Contains(refused, words) {
		t.Errorf("the server says %q, want %q in it", refused, words)
	}
}
