package telemetry

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// startProxy listens as a proxy, answers each request as given, and returns the
// requests as they came.
func startProxy(t *testing.T, answer string) (address string, came chan string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	came = make(chan string, 10)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			var b bytes.Buffer
			if req, err := http.ReadRequest(newTee(conn, &b)); err == nil && req.Method != http.MethodConnect {
				io.Copy(io.Discard, req.Body)
			}
			came <- b.String()
			io.WriteString(conn, answer)
			conn.Close()
		}
	}()
	return l.Addr().String(), came
}

// through has all requests go through a proxy, with a user name and password.
func through(address string) func(*http.Request) (*url.URL, error) {
	return func(*http.Request) (*url.URL, error) {
		return &url.URL{Scheme: "http", Host: address, User: url.UserPassword("me", "hunter2")}, nil
	}
}

// TestPreviewThroughAProxy: a proxy gets another request line, and what it knows
// its user by. The preview shows both, but for the password.
func TestPreviewThroughAProxy(t *testing.T) {
	proxy, came := startProxy(t, "HTTP/1.1 200 OK\r\nContent-Length: 12\r\nConnection: close\r\n\r\n{\"code\":200}")
	cfg := Config{Version: "1.2.3", URL: "http://collector.test", APIKey: "key", StateDir: shortDir(t), Interval: time.Hour, Getenv: noEnv, proxy: through(proxy)}
	d := deskFor(t, cfg)
	if out := d.want("POST http://collector.test/2/httpapi HTTP/1.1\r\nHost: collector.test\r\n", "preview"); strings.Contains(out, "hunter2") {
		t.Errorf("the preview shows the proxy's password:\n%s", out)
	}
	p := newCoffee()
	mustOpen(t, p.Client, cfg)
	defer p.Close(t.Context())
	p.brewed.Record(large, 2)
	preview := d.want(`"event_type":"brewed"`, "preview")
	if err := p.live.Load().do(t.Context(), func() { p.live.Load().look(t.Context(), false) }); err != nil {
		t.Fatal(err)
	}
	sent := <-came
	const credentials = "\r\nProxy-Authorization: Basic bWU6aHVudGVyMg==\r\n"
	if !strings.Contains(sent, credentials) {
		t.Fatalf("the proxy got\n%s", sent)
	}
	want := strings.Replace(sent, credentials, "\r\nProxy-Authorization: "+hiddenCredentials+"\r\n", 1) + "\n"
	if preview != want {
		t.Errorf("the preview is\n%s\nwant\n%s", preview, want)
	}
	if out := d.want("", "preview", "-sent"); out != want {
		t.Errorf("what was sent is shown as\n%s\nwant\n%s", out, want)
	}
}

// TestProxyIsToldNothing: where the destination is https, a proxy is asked for a
// connection, by host and port. No word of the program is in that.
func TestProxyIsToldNothing(t *testing.T) {
	proxy, came := startProxy(t, "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
	cfg := Config{URL: "https://collector.test", APIKey: "key", Getenv: noEnv, proxy: through(proxy)}
	p := newCoffee()
	mustOpen(t, p.Client, cfg)
	p.spilled.Record()
	p.Close(t.Context())
	want := "CONNECT collector.test:443 HTTP/1.1\r\nHost: collector.test:443\r\nProxy-Authorization: Basic bWU6aHVudGVyMg==\r\n\r\n"
	if got := <-came; got != want {
		t.Errorf("the proxy got\n%s\nwant\n%s", got, want)
	}
	d := deskFor(t, cfg)
	d.want("POST /2/httpapi HTTP/1.1\r\nHost: collector.test\r\n", "preview")
}

// TestHTTP1 sends to a server that would speak HTTP/2: what is shown is HTTP/1.1,
// so that is what is spoken.
func TestHTTP1(t *testing.T) {
	got := make(chan string, 1)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got <- fmt.Sprint(r.Proto, " ", r.Header["User-Agent"])
		io.WriteString(w, `{"code":200}`)
	}))
	srv.EnableHTTP2 = true
	srv.StartTLS()
	defer srv.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	c := newCoffee()
	mustOpen(t, c.Client, Config{URL: srv.URL, APIKey: "k", CAFile: ca, Getenv: noEnv})
	c.spilled.Record()
	if err := c.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if proto := <-got; proto != "HTTP/1.1 []" {
		t.Errorf("the server is spoken to as %s, want HTTP/1.1 and no User-Agent", proto)
	}
}
