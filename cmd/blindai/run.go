package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

// newRunCommand makes `blindai run`.
func newRunCommand() *cobra.Command {
	var (
		server    serverFlags
		inputs    []string
		outputs   []string
		outputDir string
		asJSON    bool
	)
	cmd := &cobra.Command{
		Use:   "run ID --input [NAME=]FILE.npy ...",
		Short: "Run a model once and print what it gives",
		Long: `Run sends inputs to the model with this id and prints its outputs: the name, the
type, the shape and the first values of each. In place of the id it takes the
SHA-256 of the model's file.

Inputs are files as numpy.save writes them. With a name in front an input is
given to the model's input of that name; the others fill the places that are
left, in order. (A file whose own name has an equals sign is given as =FILE.)

Outputs are written to files in the same format where --output or --output-dir
say so.`,
		Example: `  blindai run $id --input image.npy
  blindai run $id --input minuend=a.npy --input subtrahend=b.npy --json
  blindai run $id --input image.npy --output probabilities=p.npy`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), server.timeout)
			defer cancel()
			request := newRunRequest(args[0])
			for _, in := range inputs {
				name, path := splitName(in)
				a, err := readNPY(path)
				if err != nil {
					return fmt.Errorf("input: %w", err)
				}
				request.Inputs = append(request.Inputs, newWireTensor(name, a))
			}
			connection, err := server.connect(ctx)
			if err != nil {
				return err
			}
			var reply runReply
			if err := connection.post(ctx, server.run, "/run", request, &reply, nil); err != nil {
				return fmt.Errorf("run: %w", err)
			}
			results, err := reply.results()
			if err != nil {
				return err
			}
			if err := place(results, outputs, outputDir); err != nil {
				return err
			}
			for _, r := range results {
				for _, path := range r.files {
					if err := writeNPY(path, r.array); err != nil {
						return fmt.Errorf("write an output: %w", err)
					}
				}
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(map[string]any{"outputs": results})
			}
			for _, r := range results {
				if _, err := fmt.Fprintln(cmd.OutOrStdout(), r.summary()); err != nil {
					return err
				}
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&inputs, "input", nil, "an input, as `[NAME=]FILE`; once for each")
	flags.StringArrayVar(&outputs, "output", nil, "write an output, as `[NAME=]FILE`; the name may be left out if there is one output")
	flags.StringVar(&outputDir, "output-dir", "", "write all outputs to this `folder`, each as NAME.npy")
	flags.BoolVar(&asJSON, "json", false, "print all values as JSON, row by row")
	cmd.MarkFlagRequired("input")
	server.add(cmd, "run")
	return cmd
}

// splitName takes [NAME=]FILE apart.
func splitName(arg string) (name, path string) {
	if name, path, ok := strings.Cut(arg, "="); ok {
		return name, path
	}
	return "", arg
}

// A runRequest is the body of a run.
type runRequest struct {
	ModelID   string       `cbor:"model_id"`
	ModelHash string       `cbor:"model_hash"`
	Inputs    []wireTensor `cbor:"inputs"`
}

// A runReply is the answer to it.
type runReply struct {
	Outputs []wireTensor `cbor:"outputs"`
}

// A wireTensor is a tensor as it travels. Its type goes out as a number and comes back as a name.
type wireTensor struct {
	Info struct {
		Fact      []int64 `cbor:"fact"`
		DatumType any     `cbor:"datum_type"`
		NodeName  *string `cbor:"node_name"`
	} `cbor:"info"`
	Data []byte `cbor:"bytes_data"`
}

// newRunRequest takes what a user calls the id: a hash if it looks like one.
func newRunRequest(id string) runRequest {
	if sum, err := hex.DecodeString(id); err == nil && len(sum) == 32 {
		return runRequest{ModelHash: id}
	}
	return runRequest{ModelID: id}
}

func newWireTensor(name string, a array) (t wireTensor) {
	t.Info.Fact = a.shape
	t.Info.DatumType = uint8(a.kind)
	if name != "" {
		t.Info.NodeName = &name
	}
	t.Data = a.data
	return t
}

// A result is one output of a model.
type result struct {
	array
	name  string
	files []string // to write it to
}

// results checks what the server sent.
func (r runReply) results() ([]*result, error) {
	broken := errors.New("the answer cannot be read; is the server of another version?")
	var list []*result
	for i, t := range r.Outputs {
		name, _ := t.Info.DatumType.(string)
		k, ok := kindNamed(name)
		out := &result{array: array{kind: k, shape: t.Info.Fact, data: t.Data}, name: fmt.Sprintf("output_%d", i)}
		if !ok || out.check() != nil {
			return nil, broken
		}
		if t.Info.NodeName != nil {
			out.name = *t.Info.NodeName
		}
		list = append(list, out)
	}
	return list, nil
}

// place decides which output goes to which file.
func place(results []*result, outputs []string, dir string) error {
	var names []string
	for _, r := range results {
		names = append(names, strconv.Quote(r.name))
	}
	for _, arg := range outputs {
		name, path := splitName(arg)
		at := slices.IndexFunc(results, func(r *result) bool { return r.name == name })
		if name == "" && len(results) == 1 {
			at = 0
		}
		if at < 0 {
			return fmt.Errorf("--output has to name one of the model's outputs, as NAME=FILE; they are %s",
				strings.Join(names, ", "))
		}
		results[at].files = append(results[at].files, path)
	}
	if dir == "" {
		return nil
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return fmt.Errorf("make the folder for outputs: %w", err)
	}
	taken := make(map[string]bool)
	for i, r := range results {
		base := fileName(r.name)
		if base == "" || taken[base] {
			base = fmt.Sprintf("output_%d", i)
		}
		taken[base] = true
		r.files = append(r.files, filepath.Join(dir, base+".npy"))
	}
	return nil
}

// fileName makes a file's name of an output's. The output's was chosen by whoever made the model,
// so it must not lead out of the folder.
func fileName(name string) string {
	safe := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', strings.ContainsRune("._-", r):
			return r
		}
		return '_'
	}, name)
	return strings.TrimLeft(safe[:min(len(safe), 100)], ".")
}

// shown is how many values of an output a summary shows.
const shown = 16

// summary describes an output on one line.
func (r *result) summary() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %v:", printable(r.name), r.kind, r.shape)
	for i := range min(r.count(), shown) {
		fmt.Fprintf(&b, " %v", r.element(i))
	}
	if more := r.count() - shown; more > 0 {
		fmt.Fprintf(&b, " and %d more", more)
	}
	for _, path := range r.files {
		fmt.Fprintf(&b, " -> %s", path)
	}
	return b.String()
}

// printable quotes a name that a terminal could take for orders.
func printable(name string) string {
	if quoted := strconv.Quote(name); name == "" || quoted != `"`+name+`"` {
		return quoted
	}
	return name
}

// MarshalJSON writes the output with all its values, row by row. JSON has no words for what is not
// a number, so those are texts.
func (r *result) MarshalJSON() ([]byte, error) {
	values := make([]any, r.count())
	for i := range values {
		values[i] = r.element(i)
		float := 0.0
		switch v := values[i].(type) {
		case float32:
			float = float64(v)
		case float64:
			float = v
		}
		if math.IsNaN(float) || math.IsInf(float, 0) {
			values[i] = fmt.Sprint(float)
		}
	}
	return json.Marshal(struct {
		Name  string  `json:"name"`
		Type  string  `json:"type"`
		Shape []int64 `json:"shape"`
		Data  []any   `json:"data"`
	}{r.name, r.kind.String(), r.shape, values})
}
