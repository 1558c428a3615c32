package main

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"
)

var update = flag.Bool("update", false, "write what the commands print into the scripts in testdata")

// The test binary plays the program in the scripts.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"blindai": func() {
		if path := os.Getenv("TEST_ADMIN_CONFIG"); path != "" {
			adminConfig = path
		}
		containerMarks = []string{os.Getenv("TEST_CONTAINER_MARK")} // the tests may run in a container
		os.Exit(run())
	}})
}

// TestScripts runs the scripts in testdata. Beside testscript's own commands
// they use:
//
//	fails blindai ...       it ends with 1 and one line on standard error, which begins with "blindai: "
//	wait-for FILE REGEXP    until a program has written a match
//	capture FILE REGEXP VAR the first group of the match
//	listen VAR              a listener; its address goes into VAR
//	connections VAR N       so many connections have been made to it
//	port VAR PORT           the port of such an address or URL goes into PORT
//	web-server VAR          a web server that knows nothing of us; its URL goes into VAR
//
// A script starts with no variable of BlindAI's, and without CI and DO_NOT_TRACK.
// The administrator's configuration file is etc/config.toml below $WORK.
func TestScripts(t *testing.T) {
	root := repository(t)
	library := os.Getenv(libraryVariable)
	if library == "" {
		library = filepath.Join(root, "bin", "libonnxruntime.so")
	}
	if _, err := os.Stat(library); err != nil {
		t.Fatal("the scripts need ONNX Runtime: run `make build` first, or set ", libraryVariable)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			home := filepath.Join(env.WorkDir, "home")
			env.Setenv("HOME", home)
			env.Setenv("XDG_STATE_HOME", filepath.Join(home, "state"))
			env.Setenv("STATE", filepath.Join(home, "state", "blindai"))
			env.Setenv("MODEL", filepath.Join(root, "testdata", "digits", "digits.onnx"))
			env.Setenv("PLAN", filepath.Join(root, "events", "plan.json"))
			env.Setenv(libraryVariable, library)
			// A script's administrator, and no file of the machine's own.
			env.Setenv("TEST_ADMIN_CONFIG", filepath.Join(env.WorkDir, "etc", "config.toml"))
			env.Setenv("XDG_CONFIG_HOME", filepath.Join(home, "config"))
			env.Values[countsKey{}] = counts{}
			if env.Getenv("GORACE") == "" {
				env.Setenv("GORACE", "atexit_sleep_ms=10") // the race detector keeps programs for a second
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"fails":       fail,
			"wait-for":    waitFor,
			"capture":     capture,
			"listen":      occupy,
			"connections": connections,
			"port":        port,
			"web-server":  webServer,
		},
	})
}

func fail(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: fails program [argument ...]")
	}
	var exit *exec.ExitError
	if err := ts.Exec(args[0], args[1:]...); !errors.As(err, &exit) || exit.ExitCode() != 1 {
		ts.Fatalf("it ends with %v, want exit code 1", err)
	}
	said := ts.ReadFile("stderr")
	if strings.Count(said, "\n") != 1 || !strings.HasPrefix(said, args[0]+": ") {
		ts.Fatalf("standard error is not one line that begins with %q", args[0]+": ")
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

// counts are the connections to a script's listeners, by their variables.
type counts map[string]*atomic.Int64

type countsKey struct{}

func occupy(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: listen variable")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { l.Close() })
	n := new(atomic.Int64)
	ts.Value(countsKey{}).(counts)[args[0]] = n
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			n.Add(1)
			c.Close()
		}
	}()
	ts.Setenv(args[0], l.Addr().String())
}

func connections(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: connections variable number")
	}
	n := ts.Value(countsKey{}).(counts)[args[0]]
	if n == nil {
		ts.Fatalf("nothing listens for %s", args[0])
	}
	if got := fmt.Sprint(n.Load()); got != args[1] {
		ts.Fatalf("%s connections, want %s", got, args[1])
	}
}

func webServer(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: web-server variable")
	}
	s := httptest.NewServer(http.NotFoundHandler())
	ts.Defer(s.Close)
	ts.Setenv(args[0], s.URL)
}

func port(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: port variable variable")
	}
	addr := ts.Getenv(args[0])
	ts.Setenv(args[1], addr[strings.LastIndex(addr, ":")+1:])
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
