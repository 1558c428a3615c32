package main

import (
	"errors"
	"flag"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"
)

var update = flag.Bool("update", false, "write what the commands print into the scripts in testdata")

// The test binary plays the program in the scripts.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"blindai-collector": func() { os.Exit(run()) }})
}

// TestScripts runs the scripts in testdata. Beside testscript's own commands
// they use:
//
//	fails [-lines=N] blindai-collector ...
//	                        it ends with 1 and one line (or N) on standard error, each of which begins
//	                        with "blindai-collector: "
//	wait-for FILE REGEXP    until a program has written a match
//	capture FILE REGEXP VAR the first group of the match
//	listen VAR              a listener; its address goes into VAR
//	mode FILE ...           only the owner may read and write these files
//
// A script starts with no variable of the collector's.
func TestScripts(t *testing.T) {
	plan, err := filepath.Abs(filepath.Join("..", "..", "events", "plan.json"))
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOME", filepath.Join(env.WorkDir, "home"))
			env.Setenv("PLAN", plan)
			if env.Getenv("GORACE") == "" {
				env.Setenv("GORACE", "atexit_sleep_ms=10") // the race detector keeps programs for a second
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"fails":    fail,
			"wait-for": waitFor,
			"capture":  capture,
			"listen":   occupy,
			"mode":     mode,
		},
	})
}

func fail(ts *testscript.TestScript, neg bool, args []string) {
	lines := 1
	if len(args) > 0 && strings.HasPrefix(args[0], "-lines=") {
		n, err := strconv.Atoi(args[0][len("-lines="):])
		ts.Check(err)
		lines, args = n, args[1:]
	}
	if neg || len(args) == 0 {
		ts.Fatalf("usage: fails [-lines=N] program [argument ...]")
	}
	var exit *exec.ExitError
	if err := ts.Exec(args[0], args[1:]...); !errors.As(err, &exit) || exit.ExitCode() != 1 {
		ts.Fatalf("it ends with %v, want exit code 1", err)
	}
	said := ts.ReadFile("stderr")
	begun := len(regexp.MustCompile(`(?m)^`+regexp.QuoteMeta(args[0]+": ")).FindAllString(said, -1))
	if begun != lines || strings.Count(said, "\n") != lines {
		ts.Fatalf("standard error is not %d lines that begin with %q", lines, args[0]+": ")
	}
}

func waitFor(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: wait-for file regexp")
	}
	want := regexp.MustCompile("(?m)" + args[1])
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		b, err := os.ReadFile(ts.MkAbs(args[0]))
		if want.Match(b) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("after 30 s still no match in %s (%v):\n%s", args[0], err, b)
		}
	}
}

func capture(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: capture file regexp variable")
	}
	match := regexp.MustCompile("(?m)" + args[1]).FindStringSubmatch(ts.ReadFile(args[0]))
	if len(match) != 2 {
		ts.Fatalf("no match, or not one group")
	}
	ts.Setenv(args[2], match[1])
}

func occupy(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: listen variable")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { l.Close() })
	ts.Setenv(args[0], l.Addr().String())
}

func mode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: mode file ...")
	}
	for _, file := range args {
		info, err := os.Stat(ts.MkAbs(file))
		ts.Check(err)
		if perm := info.Mode().Perm(); perm&0o077 != 0 {
			ts.Fatalf("%s has mode %v", file, perm)
		}
	}
}

// Every command shows how it is used, and its help is in help.txt.
func TestEveryCommandIsExplained(t *testing.T) {
	script, err := os.ReadFile(filepath.Join("testdata", "help.txt"))
	if err != nil {
		t.Fatal(err)
	}
	var look func(cmd *cobra.Command)
	look = func(cmd *cobra.Command) {
		path := cmd.CommandPath()
		if cmd.Short == "" || !strings.Contains(cmd.Example, path) {
			t.Errorf("%s has no sentence, or no example that calls it", path)
		}
		if golden := "-- " + path + " --\n"; !strings.Contains(string(script), golden) {
			t.Errorf("help.txt does not show the help of %s", path)
		}
		for _, sub := range cmd.Commands() {
			look(sub)
		}
	}
	look(newRootCommand())
}
