package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/blindai-go/blindai/collector"
	"github.com/blindai-go/blindai/console"
	"github.com/blindai-go/blindai/events"
	"github.com/blindai-go/blindai/privacy"
	"github.com/blindai-go/blindai/store/duckdb"
)

// Environment variables that preset the keys of app `blindai`.
const (
	apiKeyVar    = "COLLECTOR_API_KEY"
	secretKeyVar = "COLLECTOR_SECRET_KEY"
)

// commands are what BlindAI's privacy page tells those to type who run a server.
var commands = map[string][]privacy.Command{events.App: {
	{Do: "see whether it is on, and where it sends to", Type: "blindai telemetry status"},
	{Do: "see the exhaustive list of what can be sent", Type: "blindai telemetry plan"},
	{Do: "see the next request, byte for byte", Type: "blindai telemetry preview"},
	{Do: "switch it off", Type: "export BLINDAI_DISABLE_TELEMETRY=1"},
	{Do: "switch it off in Docker", Type: "docker run -e BLINDAI_DISABLE_TELEMETRY=1 ..."},
	{Do: "switch it off for good, also while it runs", Type: "blindai telemetry off"},
	{Do: "see what is stored of a session", Type: "blindai telemetry show --remote"},
	{Do: "have the last session erased", Type: "blindai telemetry forget"},
	{Do: "have all sessions erased that were run here", Type: "blindai telemetry forget --all"},
	{Do: "check the receipt of an erasure", Type: "blindai telemetry forget --verify receipt.json"},
}}

// stopTime is how long requests under way have after a signal.
const stopTime = 15 * time.Second

type serveOptions struct {
	listen, data, dev string
	access            access
	limits            collector.Limits
	out               io.Writer
	log               *slog.Logger
}

func newServeCommand() *cobra.Command {
	var o serveOptions
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Take events in and show them",
		Long: `serve takes events in over HTTP and shows them in the console, until it gets
SIGINT or SIGTERM. App "blindai" is there from the first start; its keys are
taken from ` + apiKeyVar + ` and ` + secretKeyVar + `, or made and printed once.

The console is open to browsers on this machine. From elsewhere it asks for the
API key and the secret key of an app, as user name and password, and shows that
app only. Counts for Prometheus are at /metrics, for this machine alone. Behind a
reverse proxy on this machine everybody would seem to be on it: say --behind-proxy,
and the console asks everybody for keys. The counts are then at /metrics of the
socket admin.sock in the data folder.

Everyone may read what is collected of an app and why, at /privacy/APP; see
app publish.`,
		Example: `  blindai-collector serve --data /var/lib/blindai-collector
  ` + apiKeyVar + `=key ` + secretKeyVar + `=secret blindai-collector serve --listen :8080
  blindai-collector serve --behind-proxy`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.limits.App < 0 || o.limits.Session < 0 {
				return errors.New("a limit must be 0, which means none, or more")
			}
			o.out = cmd.OutOrStdout()
			o.log = slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))
			return serve(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVar(&o.listen, "listen", "127.0.0.1:8080", "address to listen on; port 0 takes a free one")
	cmd.Flags().StringVar(&o.data, "data", "blindai-collector-data", "folder that keeps everything")
	cmd.Flags().BoolVar(&o.access.behindProxy, "behind-proxy", false, "ask for keys on this machine too, because a proxy on it lets others in")
	cmd.Flags().StringVar(&o.dev, "dev", "", "folder of the console's sources, to read pages from it while working on them")
	cmd.Flags().IntVar(&o.limits.App, "limit-app", 0, "events a second that one API key may send, averaged over 30 s; 0 means no limit")
	cmd.Flags().IntVar(&o.limits.Session, "limit-session", 0, "events a second that one session may send, averaged over 30 s; 0 means no limit")
	return cmd
}

// serve wires the rooms together: folder, store, collector, console. It is the
// only place that knows them all.
func serve(ctx context.Context, o serveOptions) (err error) {
	folder, err := collector.OpenFolder(o.data)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, folder.Close()) }()
	l, err := listen(o.listen)
	if err != nil {
		return err
	}
	defer l.Close()
	// After all that commonly fails: a new secret key is shown only once.
	if err := presetApp(folder, o.out); err != nil {
		return err
	}
	s, err := duckdb.Config{Logger: o.log}.Open(ctx, folder.Path())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	c, err := collector.New(ctx, collector.Config{Folder: folder, Store: s, Logger: o.log, Limits: o.limits, Commands: commands})
	if err != nil {
		return err
	}
	defer c.Close()
	stopCommands, err := listenToCommands(folder, c)
	if err != nil {
		o.log.Warn("apps cannot be managed while this runs", "err", err)
	}
	defer stopCommands()
	pages, err := newPages(c, console.Config{Store: s, Logger: o.log, Dev: o.dev}, o.access)
	if err != nil {
		return err
	}

	srv := newServer(newHandler(c, pages, o.access))
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	base := "http://" + l.Addr().String()
	fmt.Fprintf(o.out, "blindai-collector %s is ready\n  console  %s/\n  upload   %s/2/httpapi\n  privacy  %s/privacy/%s\n  data     %s\n", version, base, base, base, events.App, folder.Path())
	if !o.access.behindProxy {
		fmt.Fprintln(o.out, "The console is open to whoever is on this machine; behind a reverse proxy, start with --behind-proxy.")
	}

	select {
	case err := <-served:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	o.log.Info("stopping; requests under way are finished")
	if !stopServer(srv) {
		// Their events were not acknowledged, so their senders still have them.
		o.log.Warn("some requests did not finish in time and were cut off")
	}
	return nil
}

// newHandler puts what the rooms answer on one origin. The collector answers
// whatever is sent, also to a path like //2/httpapi, from which ServeMux would
// redirect an upload that then comes back without its body.
func newHandler(c *collector.Collector, pages http.Handler, who access) http.Handler {
	own := c.Handler()
	mux := http.NewServeMux()
	mux.Handle("/", own)
	mux.Handle("GET /metrics", who.operatorOnly(c.MetricsHandler()))
	mux.Handle("GET /{$}", pages)
	mux.Handle("GET /console/", pages)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodGet, http.MethodHead:
			mux.ServeHTTP(w, r)
		default:
			own.ServeHTTP(w, r)
		}
	})
}

func newServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		// net/http would log the addresses of peers.
		ErrorLog: log.New(io.Discard, "", 0),
	}
}

// stopServer reports whether the requests under way were finished.
func stopServer(srv *http.Server) bool {
	ctx, cancel := context.WithTimeout(context.Background(), stopTime)
	defer cancel()
	if srv.Shutdown(ctx) == nil {
		return true
	}
	srv.Close()
	return false
}

// listenToCommands takes orders from commands such as `app add` until stop is
// called, which must be before the collector is closed.
func listenToCommands(folder *collector.Folder, c *collector.Collector) (stop func(), err error) {
	l, err := folder.Listen()
	if err != nil {
		return func() {}, err
	}
	mux := http.NewServeMux()
	mux.Handle("/", c.AdminHandler())
	mux.Handle("GET /metrics", c.MetricsHandler())
	srv := newServer(mux)
	go srv.Serve(l)
	return func() { stopServer(srv) }, nil
}

// presetApp sees to it that app `blindai` is there with the built-in plan, and
// with the keys of the environment where they are given.
func presetApp(folder *collector.Folder, out io.Writer) error {
	keys := collector.Keys{API: os.Getenv(apiKeyVar), Secret: os.Getenv(secretKeyVar)}
	if folder.App(events.App) != nil {
		return folder.SetApp(events.App, events.Plan(), keys)
	}
	made, err := folder.AddApp(events.App, events.Plan(), keys)
	if err != nil {
		return err
	}
	if keys.API == "" {
		fmt.Fprintf(out, "API key of app %s: %s\n", events.App, made.API)
	}
	if keys.Secret == "" {
		fmt.Fprintf(out, "Secret key of app %s (shown only this once): %s\n", events.App, made.Secret)
	}
	return nil
}

// listen says in one sentence what to do about an address that cannot be had.
func listen(addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("the address %s is taken; end the program that listens there, or choose another address with --listen", addr)
	case err != nil:
		return nil, fmt.Errorf("cannot listen; choose another address with --listen: %w", err)
	}
	return l, nil
}
