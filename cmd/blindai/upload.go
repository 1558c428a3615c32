package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
)

// newUploadCommand makes `blindai upload`.
func newUploadCommand() *cobra.Command {
	var (
		server   serverFlags
		name     string
		optimize bool
		asJSON   bool
	)
	cmd := &cobra.Command{
		Use:   "upload MODEL.onnx",
		Short: "Upload a model and print its id",
		Long: `Upload sends an ONNX model to a server, which prepares it and keeps it in memory
until it is deleted or the server ends. The model's id goes to standard output,
alone on a line. Uploading the same file again gives another id.

The server's certificate is fetched over plain HTTP first and pinned for this
command: trust at first sight.`,
		Example: `  blindai upload model.onnx
  id=$(blindai upload --server models.example.com model.onnx)`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), server.timeout)
			defer cancel()
			model, err := os.ReadFile(args[0])
			if err != nil {
				return fmt.Errorf("read the model: %w", err)
			}
			if len(model) == 0 {
				return fmt.Errorf("%s is empty; give an ONNX file", args[0])
			}
			connection, err := server.connect(ctx)
			if err != nil {
				return err
			}
			request := struct {
				Model    []byte `cbor:"model"`
				Length   int    `cbor:"length"`
				Name     string `cbor:"model_name"`
				Optimize bool   `cbor:"optimize"`
			}{model, len(model), name, optimize}
			var reply struct {
				Hash    []byte `cbor:"hash"`
				ModelID string `cbor:"model_id"`
			}
			progress := newProgress(cmd.ErrOrStderr())
			err = connection.post(ctx, server.manage, "/upload", request, &reply, progress.show)
			progress.clear()
			if err != nil {
				return fmt.Errorf("upload %s: %w", args[0], err)
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(map[string]string{
					"model_id": reply.ModelID,
					"hash":     hex.EncodeToString(reply.Hash),
				})
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), reply.ModelID)
			return err
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "`name` of the model; our server does not keep it")
	cmd.Flags().BoolVar(&optimize, "optimize", true, "let the engine rewrite the graph to run faster")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the id and the SHA-256 of the model as JSON")
	server.add(cmd, "manage")
	return cmd
}

// A progress shows on a terminal how an upload goes. It stays silent for a second, since most
// uploads are over by then.
type progress struct {
	to    io.Writer // nil if it is no terminal
	start time.Time
	shown time.Time
}

func newProgress(to io.Writer) *progress {
	p := &progress{start: time.Now()}
	if file, ok := to.(*os.File); ok {
		if info, err := file.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
			p.to = to
		}
	}
	return p
}

// show is called with every piece that is sent.
func (p *progress) show(sent, size int64) {
	now := time.Now()
	if p.to == nil || now.Sub(p.start) < time.Second || now.Sub(p.shown) < 200*time.Millisecond {
		return
	}
	p.shown = now
	if sent == size {
		fmt.Fprint(p.to, "\rsent; the server prepares the model ")
		return
	}
	fmt.Fprintf(p.to, "\rsending: %d %% of %d MB ", 100*sent/max(size, 1), size/1e6)
}

// clear removes what was shown.
func (p *progress) clear() {
	if !p.shown.IsZero() {
		fmt.Fprint(p.to, "\r\x1b[K")
	}
}
