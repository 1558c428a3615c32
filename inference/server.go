package inference

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"github.com/blindai-go/blindai/inference/enclave"
)

// A Server is the model server. Its methods are safe for concurrent use.
type Server struct {
	config      Config
	certificate tls.Certificate
	events      recorder
	models      *models
	uploads     budget        // of the manage listener
	runs        budget        // of the run listener
	turns       chan struct{} // one element for each run in the engine

	stop context.CancelFunc // ends what is under way
	done chan struct{}      // closed when Shutdown is through

	doors [3]door // in the order of the ports

	mu       sync.Mutex // guards what follows
	stopping bool
}

// A recorder is told what happens. It is *events.Events, but for tests.
type recorder interface {
	Started()
	SendModel(size int64)
	RunModel()
}

// A door is one listener with what is behind it.
type door struct {
	addr   string
	flag   string // of the command that sets addr
	tls    bool
	server *http.Server
	ln     net.Listener // nil before Listen
}

// New builds a server: it finds the engine, if the configuration has none, and makes the
// certificate. It touches no network.
func New(config Config) (*Server, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	certificate, err := newCertificate()
	if err != nil {
		return nil, err
	}
	s := &Server{
		config:      config,
		certificate: certificate,
		events:      config.Events,
		models:      newModels(config.Runtime),
		uploads:     budget{max: uploadBytes(config.Limits)},
		runs:        budget{max: config.Limits.PendingBytes},
		turns:       make(chan struct{}, config.Limits.Runs),
		done:        make(chan struct{}),
	}
	var base context.Context
	base, s.stop = context.WithCancel(context.Background())
	s.doors = [3]door{
		{addr: config.UnattestedAddr, flag: "--listen-unattested", server: s.newHTTP(base, s.routeUnattested)},
		{addr: config.RunAddr, flag: "--listen-run", tls: true, server: s.newHTTP(base, s.routeRun)},
		{addr: config.ManageAddr, flag: "--listen-manage", tls: true, server: s.newHTTP(base, s.routeManage)},
	}
	return s, nil
}

// newHTTP makes the HTTP server of one listener.
func (s *Server) newHTTP(base context.Context, route http.HandlerFunc) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true) // all that clients speak; HTTP/2 would only be more to attack
	return &http.Server{
		Handler:     s.guard(route),
		BaseContext: func(net.Listener) context.Context { return base },
		Protocols:   protocols,
		TLSConfig: &tls.Config{
			Certificates: []tls.Certificate{s.certificate},
			MinVersion:   tls.VersionTLS12,
		},
		// A body has no deadline as a whole, for it may be large and the line slow; see patience.
		ReadHeaderTimeout:            10 * time.Second,
		IdleTimeout:                  2 * time.Minute,
		MaxHeaderBytes:               16 << 10,
		DisableGeneralOptionsHandler: true,
		// What the library would log here are the addresses of peers.
		ErrorLog: log.New(io.Discard, "", 0),
	}
}

// guard keeps a panic inside its request. The HTTP library would log it with the peer's address.
func (s *Server) guard(next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if recover() != nil { // the value may hold anything of the request
				s.config.Logger.Error("a request ended in a panic", "stack", string(debug.Stack()))
				reply(w, nil, unknownError)
			}
		}()
		next(w, r)
	})
}

// Listen binds all three addresses. If one of them cannot be had, none is kept, and the error names
// the flag that chooses another.
func (s *Server) Listen() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return http.ErrServerClosed
	}
	if s.doors[0].ln != nil {
		return nil
	}
	for i := range s.doors {
		d := &s.doors[i]
		ln, err := net.Listen("tcp", d.addr)
		if err != nil {
			for j := range i {
				s.doors[j].ln.Close()
				s.doors[j].ln = nil
			}
			return listenError(d, err)
		}
		d.ln = ln
	}
	return nil
}

// listenError says why an address could not be had and what to do.
func listenError(d *door, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("listen on %s: the address is in use; stop the program that has it, "+
			"or choose another with %s", d.addr, d.flag)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("listen on %s: not permitted; choose a port from 1024 on with %s", d.addr, d.flag)
	}
	var cause *net.OpError
	if errors.As(err, &cause) {
		err = cause.Err
	}
	return fmt.Errorf("listen on %s: %w; choose another address with %s", d.addr, err, d.flag)
}

// Addrs are the addresses that a server listens on, with the real port where port 0 was asked for.
type Addrs struct {
	Unattested, Run, Manage net.Addr
}

// Addrs returns the addresses, or nil ones before Listen.
func (s *Server) Addrs() Addrs {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.doors[0].ln == nil {
		return Addrs{}
	}
	return Addrs{s.doors[0].ln.Addr(), s.doors[1].ln.Addr(), s.doors[2].ln.Addr()}
}

// Mode says whether the server is in software or in hardware mode.
func (s *Server) Mode() enclave.Mode { return s.config.Platform.Mode() }

// Serve answers requests until Shutdown, and then returns nil. It calls Listen if need be, and
// notes the start as soon as all three listeners are ready.
func (s *Server) Serve() error {
	if err := s.Listen(); err != nil {
		if errors.Is(err, http.ErrServerClosed) {
			return nil
		}
		return err
	}
	ended := make(chan error, len(s.doors))
	for i := range s.doors {
		d := &s.doors[i]
		go func() {
			if d.tls {
				ended <- d.server.ServeTLS(d.ln, "", "")
			} else {
				ended <- d.server.Serve(d.ln)
			}
		}()
	}
	s.events.Started()
	s.config.Logger.Info("ready", "mode", s.Mode().String(), "unattested", s.doors[0].ln.Addr().String(),
		"run", s.doors[1].ln.Addr().String(), "manage", s.doors[2].ln.Addr().String())

	err := <-ended
	if errors.Is(err, http.ErrServerClosed) {
		<-s.done
		return nil
	}
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	s.Shutdown(gone)
	return fmt.Errorf("serve: %w", err)
}

// Shutdown closes the listeners, lets the requests under way come to their end, and forgets all
// models. When ctx ends first, runs are stopped where they are and connections are cut; the error
// is then that of ctx.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	if s.stopping {
		s.mu.Unlock()
		<-s.done
		return nil
	}
	s.stopping = true
	s.mu.Unlock()
	defer close(s.done)

	errs := make([]error, len(s.doors))
	var group sync.WaitGroup
	for i := range s.doors {
		d := &s.doors[i]
		group.Go(func() {
			if errs[i] = d.server.Shutdown(ctx); errs[i] != nil {
				s.stop()
				d.server.Close()
			}
			if d.ln != nil {
				d.ln.Close() // bound, but perhaps never served
			}
		})
	}
	group.Wait()
	s.stop()
	s.models.clear()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
