package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/pelletier/go-toml/v2"

	"github.com/blindai-go/blindai/telemetry"
)

// Two configuration files say something about telemetry, in TOML:
//
//	[telemetry]
//	enabled = false
//	url = "https://collector.example"
//	api_key = "..."
//
// The administrator's is always read. The user's is config.toml in their
// configuration folder, or the file of --config in its place. A file that says off
// wins over everything that says on. For the destination the nearest wins: flags
// and environment, then the user's file, then the administrator's, each as a whole.
//
// A file that is there and cannot be used must not turn telemetry on: whoever wrote
// it may have meant off. It counts as off, and the program says so; only the file
// that was named by --config ends it.

// adminConfig is the administrator's file. Tests replace it.
var adminConfig = "/etc/blindai/config.toml"

// configFile is what a file may hold. Anything else in it is a fault: a misspelt
// word must not leave telemetry on.
type configFile struct {
	Telemetry struct {
		Enabled *bool  `toml:"enabled"`
		URL     string `toml:"url"`
		APIKey  string `toml:"api_key"`
	} `toml:"telemetry"`
}

// userConfig returns the path of the user's file, or "" where none can be named.
func userConfig() string {
	if dir := os.Getenv("XDG_CONFIG_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "blindai", "config.toml")
	}
	if home, err := os.UserHomeDir(); err == nil {
		return filepath.Join(home, ".config", "blindai", "config.toml")
	}
	return ""
}

// readConfig reads one file. A file that is not there says nothing, and found is
// false. Errors do not repeat what is in the file: it holds a key. A pipe is not
// opened: that could take for ever. /dev/null is an empty file, as it is to most.
func readConfig(path string) (c configFile, found bool, err error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		if null, err := os.Stat(os.DevNull); err == nil && os.SameFile(info, null) {
			return configFile{}, true, nil
		}
		return configFile{}, true, fmt.Errorf("%s is not a regular file; put a file in its place, or remove it", path)
	}
	b, err := readConfigFile(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return configFile{}, false, nil
	}
	if err != nil {
		return configFile{}, true, fmt.Errorf("%s cannot be read (%w); make it readable, or remove it", path, unwrapPath(err))
	}
	if len(b) > maxConfig {
		return configFile{}, true, fmt.Errorf("%s is too large for a configuration, which has 64 KiB at most; name or write another", path)
	}
	d := toml.NewDecoder(bytes.NewReader(b)).DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		where := ""
		var syntax *toml.DecodeError
		var unknown *toml.StrictMissingError
		switch {
		case errors.As(err, &unknown) && len(unknown.Errors) > 0:
			row, _ := unknown.Errors[0].Position()
			where = fmt.Sprintf(", line %d", row)
		case errors.As(err, &syntax):
			row, _ := syntax.Position()
			where = fmt.Sprintf(", line %d", row)
		}
		return configFile{}, true, fmt.Errorf("%s%s is not a configuration; it takes a table [telemetry] with enabled = true or false, url = \"...\" and api_key = \"...\"", path, where)
	}
	return c, true, nil
}

// maxConfig bounds a configuration file, which has three lines: whatever stands at its
// path, reading it must not take the memory of the program. 2026-11.
const maxConfig = 64 << 10

// readConfigFile reads no more of a file than one byte beyond maxConfig.
func readConfigFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxConfig+1))
}

// unwrapPath takes the operation and the path out of an error of the file system.
func unwrapPath(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// fromFiles adds what the configuration files say. faults are of files that
// cannot be used and count as off; err is of the one that was named.
func (o *telemetryOptions) fromFiles(c *telemetry.Config) (faults []error, err error) {
	read := func(path string) (found bool, err error) {
		file, found, err := readConfig(path)
		switch {
		case err != nil:
			c.Settings = append(c.Settings, telemetry.Setting{Source: "the unusable file " + path, Says: telemetry.Off})
			return found, err
		case !found:
			return false, nil
		}
		if on := file.Telemetry.Enabled; on != nil {
			says := telemetry.Off
			if *on {
				says = telemetry.On
			}
			c.Settings = append(c.Settings, telemetry.Setting{Source: path, Says: says})
		}
		if c.URL == "" && c.APIKey == "" {
			c.URL, c.APIKey = file.Telemetry.URL, file.Telemetry.APIKey
		}
		return true, nil
	}
	if o.file != "" {
		found, err := read(o.file)
		if err != nil {
			return nil, err
		}
		if !found {
			return nil, fmt.Errorf("there is no configuration file %s; name another with --config", o.file)
		}
	} else if path := userConfig(); path != "" {
		if _, err := read(path); err != nil {
			faults = append(faults, err)
		}
	}
	if _, err := read(adminConfig); err != nil {
		faults = append(faults, err)
	}
	return faults, nil
}
