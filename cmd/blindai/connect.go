package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/spf13/cobra"

	"github.com/blindai-go/blindai/inference"
)

// A serverFlags says which server a command talks to.
type serverFlags struct {
	host       string
	unattested uint16
	run        uint16
	manage     uint16
	timeout    time.Duration
}

// add gives a command the flags that choose the server. The port of the listener that it needs
// besides the unattested one is "run" or "manage".
func (f *serverFlags) add(cmd *cobra.Command, listener string) {
	flags := cmd.Flags()
	flags.StringVar(&f.host, "server", "127.0.0.1", "name or address of the server's `host`")
	flags.Uint16Var(&f.unattested, "unattested-port", 9923, "`port` that hands out the certificate")
	switch listener {
	case "run":
		flags.Uint16Var(&f.run, "run-port", 9924, "`port` for inference")
	case "manage":
		flags.Uint16Var(&f.manage, "manage-port", 9925, "`port` for uploads and deletes")
	}
	flags.DurationVar(&f.timeout, "timeout", 10*time.Minute, "give up after this `time`")
}

// dialTimeout is how long a server may take to accept a connection, and again to shake hands.
const dialTimeout = 10 * time.Second

// maxCertificate bounds what the unattested port may send; a certificate has some 500 bytes.
const maxCertificate = 64 << 10

// A connection is a server whose certificate is pinned.
type connection struct {
	flags  *serverFlags
	client *http.Client
}

// connect fetches the server's certificate over plain HTTP and trusts nothing else from then on,
// whatever address the server has. That is trust at first sight: it keeps out who comes later, not
// who was there before. Hardware mode is meant to close that gap with a quote over the
// certificate; since this command cannot verify quotes yet, it refuses such a server rather than
// to pretend.
func (f *serverFlags) connect(ctx context.Context) (*connection, error) {
	if f.host == "" || strings.Contains(f.host, "/") {
		return nil, errors.New("--server wants the name or address of a host, without http:// and without a path")
	}
	if _, _, err := net.SplitHostPort(f.host); err == nil {
		return nil, errors.New("--server wants a host without a port; ports have flags of their own")
	}
	addr := f.addr(f.unattested)
	plain := &http.Client{Transport: &http.Transport{
		DialContext:       (&net.Dialer{Timeout: dialTimeout}).DialContext,
		DisableKeepAlives: true,
	}, Timeout: 2 * dialTimeout}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/", nil)
	if err != nil {
		return nil, errors.New("--server is not the name or address of a host")
	}
	response, err := plain.Do(request)
	if err != nil {
		return nil, fmt.Errorf("no server answers on %s (%w); start one with `blindai serve`, "+
			"or choose another with --server and --unattested-port", addr, cause(err))
	}
	defer response.Body.Close()
	stranger := fmt.Errorf("what answers on %s is not a BlindAI server; choose another with "+
		"--server and --unattested-port", addr)
	banner := response.Header.Get("Server")
	if response.StatusCode != http.StatusOK || !strings.HasPrefix(banner, "blindai") {
		return nil, stranger
	}
	if !strings.Contains(banner, "mock") {
		return nil, fmt.Errorf("the server on %s says that it runs in hardware mode, which this command "+
			"cannot verify yet; use a client that can", addr)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxCertificate))
	if err != nil {
		return nil, fmt.Errorf("fetch the certificate from %s: %w", addr, cause(err))
	}
	var der []byte
	if err := cbor.Unmarshal(body, &der); err != nil {
		return nil, stranger
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, stranger
	}
	roots := x509.NewCertPool()
	roots.AddCert(certificate)
	return &connection{flags: f, client: &http.Client{Transport: &http.Transport{
		// No proxy: it would see nothing, and a pinned server is not behind one.
		DialContext:         (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSHandshakeTimeout: dialTimeout,
		TLSClientConfig: &tls.Config{
			RootCAs:    roots,
			ServerName: inference.ServerName,
			MinVersion: tls.VersionTLS12,
		},
	}}}, nil
}

func (f *serverFlags) addr(port uint16) string {
	return net.JoinHostPort(strings.Trim(f.host, "[]"), strconv.Itoa(int(port)))
}

// post sends a request and decodes the answer into reply. If watch is not nil it is called as the
// request goes out, with how much of it is gone.
func (c *connection) post(ctx context.Context, port uint16, path string, request, reply any, watch func(sent, size int64)) error {
	body, err := cbor.Marshal(request)
	if err != nil {
		return fmt.Errorf("encode the request: %w", err)
	}
	addr := c.flags.addr(port)
	post, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+addr+path,
		&watched{Reader: bytes.NewReader(body), size: int64(len(body)), watch: watch})
	if err != nil {
		return err
	}
	post.ContentLength = int64(len(body))
	response, err := c.client.Do(post)
	if err != nil {
		return c.failure(addr, err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return c.failure(addr, err)
	}
	if response.StatusCode == http.StatusOK {
		if err := cbor.Unmarshal(answer, reply); err != nil {
			return fmt.Errorf("the answer from %s cannot be read; is the server of another version?", addr)
		}
		return nil
	}
	var text string
	if err := cbor.Unmarshal(answer, &text); err != nil || text == "" {
		return fmt.Errorf("the server on %s answers with status %d; is it the right port?", addr, response.StatusCode)
	}
	return refusal(text)
}

// refusal makes an error of the server's text, with what to do where that is known.
func refusal(text string) error {
	if reason, ok := strings.CutPrefix(text, "Unknown error: "); ok {
		text = reason
	}
	if strings.HasPrefix(text, "Model doesn't exist") {
		text += "; upload it again, for a server forgets its models when it restarts"
	}
	return errors.New("the server refuses: " + text)
}

// failure says what a connection that came to nothing means.
func (c *connection) failure(addr string, err error) error {
	var unknown x509.UnknownAuthorityError
	var hostname x509.HostnameError
	var invalid x509.CertificateInvalidError
	var verification *tls.CertificateVerificationError
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("no answer from %s within %v; allow more with --timeout", addr, c.flags.timeout)
	case errors.As(err, &unknown), errors.As(err, &hostname), errors.As(err, &invalid), errors.As(err, &verification):
		return fmt.Errorf("what answers on %s does not have the certificate that %s handed out, so "+
			"nothing was sent; check that both ports belong to the same server", addr, c.flags.addr(c.flags.unattested))
	}
	return fmt.Errorf("talk to %s: %w; check the port, and that no firewall closes it", addr, cause(err))
}

// cause leaves out what an error of the HTTP library says about the request.
func cause(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}

// A watched reader tells how much of it was read.
type watched struct {
	io.Reader
	sent, size int64
	watch      func(sent, size int64)
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.Reader.Read(p)
	w.sent += int64(n)
	if w.watch != nil {
		w.watch(w.sent, w.size)
	}
	return n, err
}
