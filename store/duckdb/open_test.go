package duckdb

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/blindai-go/blindai/store"
)

func TestInUse(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	fill(t, s)

	if _, err := Open(t.Context(), dir); !errors.Is(err, store.ErrInUse) {
		t.Errorf("in the same process: got error %v, want ErrInUse", err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), link); !errors.Is(err, store.ErrInUse) {
		t.Errorf("by another name: got error %v, want ErrInUse", err)
	}
	if out, state := startChild(t, "open", dir); state.ExitCode() != exitInUse {
		t.Errorf("in another process: %v\n%s", state, out)
	}

	shut(t, s)
	if out, state := startChild(t, "open", dir); !state.Success() {
		t.Errorf("after Close, in another process: %v\n%s", state, out)
	}
	shut(t, open(t, dir))
}

func TestOpenRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		config    Config
		dir, want string
	}{
		{Config{}, file, "choose another folder"},
		{Config{}, filepath.Join(file, "below"), "choose another folder"},
		{Config{}, filepath.Join(t.TempDir(), "what?"), "choose another folder"},
		{Config{Memory: 1}, t.TempDir(), "64 MiB or more"},
	} {
		_, err := test.config.Open(t.Context(), test.dir)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got error %v, want one that says %q", test.dir, err, test.want)
		}
		if test.config == (Config{}) && err != nil && !strings.Contains(err.Error(), test.dir) {
			t.Errorf("the error %q does not name the folder", err)
		}
	}
}

// TestFolder checks what is in the folder, open and closed.
func TestFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "on demand")
	s := open(t, dir)
	fill(t, s)
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder: %v, %v, want the owner's only", info.Mode(), err)
	}
	if info, err := os.Stat(filepath.Join(dir, idsName)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("ids: %v, %v, want the owner's only", info.Mode(), err)
	}
	shut(t, s)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if got, want := strings.Join(names, " "), databaseName+" "+idsName; got != want {
		t.Errorf("the folder holds %q, want %q", got, want)
	}
}

// TestFailedOpenLeavesFolder checks that an Open that fails lets go.
func TestFailedOpenLeavesFolder(t *testing.T) {
	dir := filled(t)
	path := filepath.Join(dir, idsName)
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), dir); !errors.Is(err, store.ErrDamaged) {
		t.Errorf("got error %v", err)
	}
	if err := os.Rename(path+".away", path); err != nil {
		t.Fatal(err)
	}
	shut(t, open(t, dir))
}

// TestFirstOpenCrashes opens folders in which the very first Open was killed.
func TestFirstOpenCrashes(t *testing.T) {
	whole, err := os.ReadFile(filepath.Join(filled(t), databaseName))
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, 1, 4096, 8192} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, databaseName), whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		s := open(t, dir)
		fill(t, s)
		shut(t, s)
	}
	// The database is made, ids is not.
	dir := t.TempDir()
	shut(t, open(t, dir))
	if err := os.Remove(filepath.Join(dir, idsName)); err != nil {
		t.Fatal(err)
	}
	fill(t, open(t, dir))
}

// TestDoorsAreClosed asks DuckDB for what it must not do.
func TestDoorsAreClosed(t *testing.T) {
	s := open(t, t.TempDir())
	err := s.read(func(db *sql.DB) error {
		for name, want := range map[string]string{
			"autoinstall_known_extensions": "false",
			"autoload_known_extensions":    "false",
			"allow_community_extensions":   "false",
			"allow_persistent_secrets":     "false",
			"enable_external_access":       "false",
			"lock_configuration":           "true",
			"memory_limit":                 "160.0 MiB",
		} {
			var got string
			if err := db.QueryRow("SELECT CAST(current_setting($1) AS VARCHAR)", name).Scan(&got); err != nil {
				return err
			}
			if got != want {
				t.Errorf("%s is %s, want %s", name, got, want)
			}
		}
		for _, q := range []string{
			"INSTALL httpfs", "LOAD httpfs", "SET enable_external_access = true",
			"SELECT * FROM read_csv('/etc/hostname')", "SELECT * FROM read_blob('/etc/hostname')",
			"COPY (SELECT 1) TO '" + filepath.Join(t.TempDir(), "out") + "'",
			"ATTACH '" + filepath.Join(t.TempDir(), "other") + "'",
			"SELECT * FROM read_csv('https://127.0.0.1:1/x.csv')",
		} {
			if _, err := db.ExecContext(context.Background(), q); err == nil {
				t.Errorf("%s: no error", q)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
