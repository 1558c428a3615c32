package inference

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestRoutes(t *testing.T) {
	c := start(t, Config{})
	do := func(method, url string) (*http.Response, []byte) {
		t.Helper()
		request, err := http.NewRequest(method, url, strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		response, err := c.http.Transport.RoundTrip(request) // follows no redirect
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response, body
	}

	t.Run("the certificate comes with the banner", func(t *testing.T) {
		response, body := do(http.MethodGet, c.unattested+"/")
		if response.StatusCode != http.StatusOK || body[0]>>5 != majorBytes {
			t.Errorf("status %d, body %x", response.StatusCode, body)
		}
		if got := response.Header.Get("Server"); got != "blindai mock (testing)" {
			t.Errorf("the Server header is %q", got)
		}
		if got := response.Header.Get("Content-Type"); got != "application/cbor" {
			t.Errorf("the content type is %q", got)
		}
	})

	for _, tt := range []struct{ method, url string }{
		{"POST", c.unattested + "/"},
		{"HEAD", c.unattested + "/"},
		{"OPTIONS", c.unattested + "/"},
		{"GET", c.unattested + "//"},
		{"GET", c.unattested + "/quote"}, // there is none in software mode
		{"GET", c.unattested + "/collateral"},
		{"POST", c.unattested + "/run"},
		{"POST", c.unattested + "/upload"},
		{"GET", c.run + "/"}, // how clients try the handshake
		{"GET", c.run + "/run"},
		{"POST", c.run + "/run/"},
		{"POST", c.run + "/upload"}, // only on the port that a firewall can close
		{"POST", c.run + "/delete"},
		{"GET", c.manage + "/"},
		{"PUT", c.manage + "/upload"},
		{"POST", c.manage + "/run"},
	} {
		name := tt.method + " " + tt.url[strings.LastIndex(tt.url, ":"):]
		t.Run(name, func(t *testing.T) {
			response, body := do(tt.method, tt.url)
			if response.StatusCode != http.StatusNotFound || len(body) != 0 {
				t.Errorf("status %d with %d bytes, want 404 with none", response.StatusCode, len(body))
			}
			if got := response.Header.Get("Server"); got != "" {
				t.Errorf("it says it is %q", got)
			}
		})
	}

	t.Run("plain HTTP to a TLS port", func(t *testing.T) {
		response, err := http.Get("http://" + c.server.Addrs().Run.String())
		if err == nil {
			defer response.Body.Close()
			if response.StatusCode == http.StatusOK {
				t.Error("it was answered")
			}
		}
	})
}
