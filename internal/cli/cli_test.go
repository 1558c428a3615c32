package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/spf13/cobra"
)

const hangVar = "CLI_TEST_HANGS"

// TestMain plays a program with a command that a signal ends in order, but that
// hangs on its way.
func TestMain(m *testing.M) {
	if os.Getenv(hangVar) == "" {
		os.Exit(m.Run())
	}
	os.Exit(Run(&cobra.Command{Use: "hang", RunE: func(cmd *cobra.Command, _ []string) error {
		fmt.Println("begins")
		<-cmd.Context().Done()
		fmt.Println("stops")
		select {}
	}}, os.Stderr))
}

// TestSecondSignalEnds: the first signal asks, the second one does not.
func TestSecondSignalEnds(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		t.Run(sig.String(), func(t *testing.T) {
			exe, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(exe)
			cmd.Env = append(os.Environ(), hangVar+"=1")
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer cmd.Process.Kill()
			said := bufio.NewReader(out)
			for _, want := range []string{"begins\n", "stops\n"} {
				if line, err := said.ReadString('\n'); err != nil || line != want {
					t.Fatalf("it says %q, %v, want %q", line, err, want)
				}
				if err := cmd.Process.Signal(sig); err != nil {
					t.Fatal(err)
				}
			}
			io.Copy(io.Discard, said)
			var exit *exec.ExitError
			if err := cmd.Wait(); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != sig {
				t.Errorf("it ends with %v, want %v", err, sig)
			}
		})
	}
}
