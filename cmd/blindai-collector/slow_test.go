package main

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A pipe is a listener whose connections are in memory, so that time in the test
// is not that of a network.
type pipe chan net.Conn

func (p pipe) Accept() (net.Conn, error) {
	if c, ok := <-p; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}
func (p pipe) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }
func (p pipe) Close() error   { close(p); return nil }

// TestSlowSendersAreCutOff: whoever writes a byte a second has ten seconds for
// the headers and thirty for the whole request.
func TestSlowSendersAreCutOff(t *testing.T) {
	for name, c := range map[string]struct {
		begin string
		want  time.Duration
	}{
		"nothing":      {"", 10 * time.Second},
		"request line": {"POST /2/httpapi HT", 10 * time.Second},
		"headers":      {"POST /2/httpapi HTTP/1.1\r\nHost: x\r\nX-", 10 * time.Second},
		"body":         {"POST /2/httpapi HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{", 30 * time.Second},
		"chunks":       {"POST /2/httpapi HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n{", 30 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				read := make(chan error, 1)
				srv := newServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					_, err := io.Copy(io.Discard, r.Body)
					read <- err
				}))
				p := make(pipe)
				go srv.Serve(p)
				defer srv.Close()
				mine, theirs := net.Pipe()
				begun := time.Now()
				p <- theirs
				var dribble sync.WaitGroup
				dribble.Go(func() {
					_, err := io.WriteString(mine, c.begin)
					for ; err == nil; time.Sleep(time.Second) {
						_, err = mine.Write([]byte{'x'})
					}
				})
				_, _ = io.Copy(io.Discard, bufio.NewReader(mine)) // until the connection ends
				took := time.Since(begun)
				mine.Close()
				dribble.Wait()
				if took < c.want || took > c.want+2*time.Second {
					t.Errorf("the connection is held for %v, want %v", took, c.want)
				}
				if c.want == 30*time.Second {
					if err := <-read; !errors.Is(err, os.ErrDeadlineExceeded) {
						t.Errorf("the reader is told %v, want that the time is over", err)
					}
				}
			})
		})
	}
}
