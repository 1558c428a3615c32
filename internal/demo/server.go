package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// A server is a running model server, used through blindai's own commands.
type server struct {
	*process
	bin   string
	ports []string // unattested, run, manage
}

func startServer(ctx context.Context, bin, state, collectorURL string, env []string, flags ...string) (*server, error) {
	args := append([]string{"serve",
		"--listen-unattested", "127.0.0.1:0", "--listen-run", "127.0.0.1:0", "--listen-manage", "127.0.0.1:0",
		"--state-dir", state, "--telemetry-url", collectorURL, "--telemetry-api-key", apiKey}, flags...)
	p, err := start(ctx, bin, "blindai", env, "  manage ", args...)
	if err != nil {
		return nil, err
	}
	s := &server{process: p, bin: bin}
	for _, name := range []string{"certificate", "run", "manage"} {
		m := regexp.MustCompile(`(?m)^  ` + name + ` .*:([0-9]+)$`).FindStringSubmatch(p.printed())
		if m == nil {
			return nil, errors.Join(errors.New("the model server did not print its addresses"), p.stop())
		}
		s.ports = append(s.ports, m[1])
	}
	return s, nil
}

// blindai runs one of blindai's commands and returns what it printed.
func (s *server) blindai(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin, "blindai"), args...)
	cmd.Env = cleanEnv()
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("blindai %s: %s", args[0], strings.TrimSpace(log.String()))
	}
	return strings.TrimSpace(out.String()), nil
}

func (s *server) upload(ctx context.Context, model string) (id string, err error) {
	return s.blindai(ctx, "upload", model, "--unattested-port", s.ports[0], "--manage-port", s.ports[2])
}

// classify runs the model on all held-out digits and returns how many it gets
// right, and how many runs that took.
func (s *server) classify(ctx context.Context, id string, d *digits, dir string) (correct, runs int, err error) {
	input := filepath.Join(dir, "images.npy")
	for from := 0; from < len(d.labels); from += perRun {
		to := min(from+perRun, len(d.labels))
		if err := d.write(input, from, to); err != nil {
			return 0, 0, err
		}
		out, err := s.blindai(ctx, "run", id, "--input", input, "--json", "--unattested-port", s.ports[0], "--run-port", s.ports[1])
		if err != nil {
			return 0, 0, err
		}
		got, err := parseDigits(out)
		if err != nil || len(got) != to-from {
			return 0, 0, fmt.Errorf("blindai run did not print %d digits (%v)", to-from, err)
		}
		for i, digit := range got {
			if digit == d.labels[from+i] {
				correct++
			}
		}
		runs++
		progress(to, len(d.labels))
	}
	return correct, runs, nil
}

// parseDigits finds the model's output "digit" in what `run --json` prints.
func parseDigits(out string) ([]int64, error) {
	var reply struct {
		Outputs []struct {
			Name string          `json:"name"`
			Data json.RawMessage `json:"data"`
		} `json:"outputs"`
	}
	if err := json.Unmarshal([]byte(out), &reply); err != nil {
		return nil, err
	}
	for _, o := range reply.Outputs {
		if o.Name == "digit" {
			var digits []int64
			err := json.Unmarshal(o.Data, &digits)
			return digits, err
		}
	}
	return nil, errors.New("there is no output called digit")
}

// progress draws a bar, where there is somebody to look at it.
func progress(done, all int) {
	info, err := os.Stderr.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return
	}
	const width = 40
	full := done * width / all
	fmt.Fprintf(os.Stderr, "\r[%s%s] %d/%d digits", strings.Repeat("=", full), strings.Repeat(" ", width-full), done, all)
	if done == all {
		fmt.Fprint(os.Stderr, "\r\033[K")
	}
}
