package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A process is a program that was started here and is ended here, by its id.
type process struct {
	name  string
	cmd   *exec.Cmd
	ended chan struct{} // closed when it is gone

	mu  sync.Mutex // guards what follows
	out bytes.Buffer
	log bytes.Buffer
}

// start runs a program until it prints a line with ready, and returns with what
// it has printed so far in out.
func start(ctx context.Context, bin, name string, env []string, ready string, args ...string) (*process, error) {
	path, err := filepath.Abs(filepath.Join(bin, name))
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("%s is missing; build it with: make build", filepath.Join(bin, name))
	}
	p := &process{name: name, cmd: exec.Command(path, args...), ended: make(chan struct{})}
	p.cmd.Env = append(cleanEnv(), env...)
	// A group of its own, so that Ctrl-C reaches this program only, which then
	// ends the others in order.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.cmd.Stderr = writerFunc(func(b []byte) (int, error) {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.log.Write(b)
	})
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	seen := make(chan struct{})
	go p.read(stdout, ready, seen)
	select {
	case <-seen:
		return p, nil
	case <-p.ended:
		return nil, fmt.Errorf("%s did not start: %s", name, p.lastWords())
	case <-ctx.Done():
		return nil, errors.Join(ctx.Err(), p.stop())
	case <-time.After(patience):
		return nil, errors.Join(fmt.Errorf("%s is not ready after %v: %s", name, patience, p.lastWords()), p.stop())
	}
}

// read keeps what the program prints, and sees it end.
func (p *process) read(stdout io.Reader, ready string, seen chan<- struct{}) {
	lines := bufio.NewScanner(stdout)
	found := false
	for lines.Scan() {
		p.mu.Lock()
		fmt.Fprintln(&p.out, lines.Text())
		p.mu.Unlock()
		if !found && strings.Contains(lines.Text(), ready) {
			found = true
			close(seen)
		}
	}
	p.cmd.Wait()
	close(p.ended)
}

// printed returns what the program has printed.
func (p *process) printed() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

// lastWords returns the last line of the log, which is the error of a program
// that has ended.
func (p *process) lastWords() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	lines := strings.Split(strings.TrimSpace(p.log.String()), "\n")
	return lines[len(lines)-1]
}

// stop ends the program as an operator would, and waits for it. A program that
// has ended by itself, with an error, is an error here too.
func (p *process) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("end %s: %w", p.name, err)
	}
	select {
	case <-p.ended:
	case <-time.After(patience):
		p.cmd.Process.Kill()
		<-p.ended
		return fmt.Errorf("%s did not end within %v and was killed", p.name, patience)
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("%s ended with exit code %d: %s", p.name, code, p.lastWords())
	}
	return nil
}

// cleanEnv is the environment without what would change the demonstration: a
// person's own choice about telemetry, and destinations of theirs.
func cleanEnv() []string {
	var env []string
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		switch {
		case strings.HasPrefix(name, "BLINDAI_") && name != "BLINDAI_ONNXRUNTIME", strings.HasPrefix(name, "COLLECTOR_"), name == "DO_NOT_TRACK":
		default:
			env = append(env, kv)
		}
	}
	return env
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }
