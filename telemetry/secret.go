package telemetry

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/blindai-go/blindai/telemetry/plan"
)

// fromInput in place of a secret has it read from standard input: an argument can be
// seen by everybody on the machine (ps), and stays in the shell's history.
const fromInput = "-"

// readSecret returns the secret that a command was given, or is given.
func (c Command) readSecret(ctx context.Context, text string) (plan.Secret, error) {
	if text != fromInput {
		return plan.ParseSecret(text)
	}
	in := c.In
	if in == nil {
		in = os.Stdin
	}
	type read struct {
		line string
		err  error
	}
	came := make(chan read, 1)
	go func() { // whoever interrupts does not want to press Return as well
		line, err := bufio.NewReader(io.LimitReader(in, 1<<10)).ReadString('\n')
		came <- read{line, err}
	}()
	select {
	case <-ctx.Done():
		return plan.Secret{}, errors.New("interrupted before a secret was read, so nobody was asked")
	case r := <-came:
		text = strings.TrimSpace(r.line)
		switch {
		case r.err != nil && r.err != io.EOF:
			return plan.Secret{}, fmt.Errorf("read the secret from standard input: %w", r.err)
		case text == "":
			return plan.Secret{}, errors.New("standard input holds no secret; it is one line of 64 hex digits")
		}
		return plan.ParseSecret(text)
	}
}
