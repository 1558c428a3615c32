package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/blindai-go/blindai/events"
	"github.com/blindai-go/blindai/inference"
	"github.com/blindai-go/blindai/telemetry"
)

// stopTime is how long runs under way have after a signal; telemetry has its
// own two seconds after that.
const stopTime = 15 * time.Second

type serveOptions struct {
	inference inference.Config
	telemetry telemetryOptions
	out       io.Writer
}

func newServeCommand() *cobra.Command {
	var o serveOptions
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve ONNX models",
		Long: `serve takes models in, runs them, and forgets them when it ends (SIGINT or
SIGTERM). It runs in software mode: without a trusted execution environment, what
is uploaded is protected on the way, but not from the machine's owner.

It says at the start whether telemetry is on, where it goes, and how to turn it
off; "blindai telemetry plan" lists all that can be sent. Beside the flags and the
environment, a configuration file can do that, in TOML, the user's and the
administrator's; a file that says enabled = false wins over everything else:

  [telemetry]
  enabled = false
  url = "https://collector.example"
  api_key = "KEY"`,
		Example: `  blindai serve
  blindai serve --config /srv/blindai.toml
  blindai serve --telemetry-url http://127.0.0.1:8080 --telemetry-api-key KEY
  ` + events.DisableVar + `=1 blindai serve`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.out = cmd.OutOrStdout()
			o.inference.Logger = slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))
			return serve(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.inference.UnattestedAddr, "listen-unattested", inference.DefaultUnattestedAddr, "address for the certificate, plain HTTP")
	f.StringVar(&o.inference.RunAddr, "listen-run", inference.DefaultRunAddr, "address for runs, TLS")
	f.StringVar(&o.inference.ManageAddr, "listen-manage", inference.DefaultManageAddr, "address for upload and delete, TLS; whoever reaches it may use both")
	o.telemetry.add(f)
	return cmd
}

// serve wires the rooms together: events, inference.
func serve(ctx context.Context, o serveOptions) error {
	cfg, faults, err := o.telemetry.config()
	if err != nil {
		return err
	}
	for _, fault := range faults {
		o.inference.Logger.Warn("telemetry is off, because of a configuration file that cannot be used", "err", fault)
	}
	e := events.New()
	o.inference.Events = e
	s, err := inference.New(o.inference)
	if err != nil {
		return err
	}
	if err := s.Listen(); err != nil {
		return err
	}
	cfg.Logger = o.inference.Logger
	mode := events.Software
	if s.Mode().String() == "HW" {
		mode = events.Hardware
	}
	if err := e.Open(mode, cfg); err != nil {
		return errors.Join(err, s.Shutdown(ctx))
	}
	sayTelemetry(o.out, e.Client())
	if secret, kept, ok := e.Client().Secret(); ok && kept && o.telemetry.namedState() == "" && inContainer() {
		// The folder can be written to, and nobody has said that it is a volume.
		fmt.Fprintf(o.out, "The erase code of this session is kept in %s, which goes with this container unless a volume is mounted there, so keep it: %s\n", cfg.StateDir, secret.Reveal())
	}
	addrs := s.Addrs()
	fmt.Fprintf(o.out, "blindai %s is ready, in %s mode\n  certificate  http://%s\n  run          https://%s\n  manage       https://%s\n",
		version, map[events.Mode]string{events.Software: "software", events.Hardware: "hardware"}[mode], addrs.Unattested, addrs.Run, addrs.Manage)

	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	select {
	case err = <-served:
	case <-ctx.Done():
		o.inference.Logger.Info("stopping; runs under way are finished")
	}
	// The signal has ended ctx; what follows has budgets of its own.
	after := context.WithoutCancel(ctx)
	stop, cancel := context.WithTimeout(after, stopTime)
	defer cancel()
	err = errors.Join(err, s.Shutdown(stop))
	if cerr := e.Close(after); cerr != nil {
		o.inference.Logger.Warn(cerr.Error()) // lost telemetry is no reason to fail
	}
	return err
}

// sayTelemetry says in a few lines what is sent, where, and how to turn it off.
func sayTelemetry(out io.Writer, c *telemetry.Client) {
	d := c.Decision()
	if !d.On {
		fmt.Fprintf(out, "Telemetry is off: %s. Nothing is recorded or sent.\n", d.Reason)
		return
	}
	fmt.Fprintf(out, "Telemetry is on: starts, uploads (with the model's size) and runs are counted at %s; \"blindai telemetry plan\" lists every field.\n", d.URL)
	fmt.Fprintf(out, "To turn it off, set %s=1 or use --no-telemetry; to erase what was sent, use \"blindai telemetry forget\".\n", events.DisableVar)
	if words := d.Exposed(); words != "" {
		fmt.Fprintln(out, words)
	}
	if held := c.HeldBack(); len(held) > 0 {
		fmt.Fprintf(out, "Off until you type \"blindai telemetry on\" and start again: %s.\n", strings.Join(held, ", "))
	}
	if secret, kept, ok := c.Secret(); ok && !kept {
		fmt.Fprintf(out, "The erase code of this session is kept nowhere else: %s\n", secret.Reveal())
	}
}
