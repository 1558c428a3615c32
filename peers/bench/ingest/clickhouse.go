package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// clickhouseDir holds the script, and the exact version of its package. There is
// no lock file: the package itself names its engine's exact version, and npm ci
// does not accept a lock file without addresses for packages of other systems.
const clickhouseDir = "peers/bench/ingest/clickhouse"

// clickhouse lets the engine insert events from a file. CPU time is the
// process's own, less that of one that only starts and makes the table.
func clickhouse(events int) (result, error) {
	install := exec.Command("npm", "install", "--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund", "--silent")
	install.Dir, install.Stderr = clickhouseDir, os.Stderr
	if _, err := os.Stat(filepath.Join(clickhouseDir, "node_modules", "chdb")); err != nil {
		if err := install.Run(); err != nil {
			return result{}, fmt.Errorf("install chdb: %w", err)
		}
	}
	dir, err := os.MkdirTemp("", "ingest-")
	if err != nil {
		return result{}, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "events.jsonl")
	if err := writeEvents(file, events); err != nil {
		return result{}, err
	}
	idle, _, _, err := insert(filepath.Join(dir, "idle"), "")
	if err != nil {
		return result{}, err
	}
	cpu, memory, answer, err := insert(filepath.Join(dir, "db"), file)
	if err != nil {
		return result{}, err
	}
	if answer.Rows != events {
		return result{}, fmt.Errorf("the engine has %d rows, want %d", answer.Rows, events)
	}
	n := float64(events)
	return result{
		name:   "ClickHouse " + answer.Version + " engine, JSONEachRow from a file",
		perCPU: n / (cpu - idle).Seconds(), wall: n / answer.Seconds,
		memory: memory, perEvent: float64(answer.Bytes) / n,
	}, nil
}

// An answer is what the script prints.
type answer struct {
	Version string
	Rows    int
	Bytes   int64
	Seconds float64
}

func insert(db, file string) (cpu time.Duration, memory int64, a answer, err error) {
	cmd := exec.Command("node", "insert.js", db, file)
	cmd.Dir, cmd.Stderr = clickhouseDir, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return 0, 0, a, err
	}
	if err := json.Unmarshal(out, &a); err != nil {
		return 0, 0, a, errors.New("the script did not print its answer")
	}
	usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), usage.Maxrss << 10, a, nil
}

// writeEvents writes the events that one connection sends, one a line.
func writeEvents(path string, events int) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 1<<20)
	p := newProducer(false)
	var line []byte
	for i := 0; i < events; {
		for _, id := range p.ids {
			for n := p.first; n < p.first+perSession && i < events; n++ {
				line = append(appendEvent(line[:0], id, n, false), '\n')
				w.Write(line)
				i++
			}
		}
		if p.first += perSession; p.first >= 2000 {
			p = newProducer(false)
		}
	}
	return errors.Join(w.Flush(), f.Close())
}
