package main

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/pflag"

	"github.com/blindai-go/blindai/events"
	"github.com/blindai-go/blindai/telemetry"
)

// The destination of a release and the contact of whoever makes it. They are
// empty unless a release links them in:
//
//	-ldflags "-X main.telemetryURL=https://... -X main.telemetryAPIKey=... -X main.telemetryContact=..."
var telemetryURL, telemetryAPIKey, telemetryContact string

// telemetryOptions are the flags that decide about telemetry, for the server and
// for the commands that say what the server would do.
type telemetryOptions struct {
	file        string // of the configuration
	stateDir    string
	off         bool
	url, apiKey string
}

func (o *telemetryOptions) add(f *pflag.FlagSet) {
	f.StringVar(&o.file, "config", "", "configuration `file` (default blindai/config.toml in the user's configuration folder; /etc/blindai/config.toml is read in any case)")
	f.StringVar(&o.stateDir, "state-dir", "", "folder that keeps the secrets which erase telemetry (default $BLINDAI_STATE_DIR, else $STATE_DIRECTORY, else blindai in the user's state folder)")
	f.BoolVar(&o.off, "no-telemetry", false, "send nothing")
	f.StringVar(&o.url, "telemetry-url", "", "full URL of the collector; without a path it means /2/httpapi (default $BLINDAI_TELEMETRY_URL)")
	f.StringVar(&o.apiKey, "telemetry-api-key", "", "API key of the app at the destination; without a URL that is Amplitude (default $BLINDAI_TELEMETRY_API_KEY)")
}

// config brings flags, environment, configuration files and linked-in values
// together. The faults are of files that count as off because they cannot be used.
func (o *telemetryOptions) config() (cfg telemetry.Config, faults []error, err error) {
	c := telemetry.Config{
		Version: version, EnvVar: events.DisableVar, StateDir: o.state(),
		URL: o.url, APIKey: o.apiKey,
		BuiltInURL: telemetryURL, BuiltInAPIKey: telemetryAPIKey,
	}
	if c.URL == "" {
		c.URL = os.Getenv("BLINDAI_TELEMETRY_URL")
	}
	if c.APIKey == "" {
		c.APIKey = os.Getenv("BLINDAI_TELEMETRY_API_KEY")
	}
	if o.off {
		c.Settings = append(c.Settings, telemetry.Setting{Source: "--no-telemetry", Says: telemetry.Off})
	}
	faults, err = o.fromFiles(&c)
	return c, faults, err
}

// state returns the state folder, or "" where none can be named. Systemd sets
// STATE_DIRECTORY for units with StateDirectory=, the XDG base directory
// specification names the rest.
func (o *telemetryOptions) state() string {
	if dir := o.namedState(); dir != "" {
		return dir
	}
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "blindai")
	}
	if home, err := os.UserHomeDir(); err == nil {
		return filepath.Join(home, ".local", "state", "blindai")
	}
	return ""
}

// namedState returns the state folder that somebody has named for blindai, or "".
func (o *telemetryOptions) namedState() string {
	return cmp.Or(o.stateDir, os.Getenv("BLINDAI_STATE_DIR"), os.Getenv("STATE_DIRECTORY"))
}

// containerMarks are files that the common engines put into a container. Tests
// replace them.
var containerMarks = []string{"/.dockerenv", "/run/.containerenv"}

// inContainer reports whether the process seems to be in a container.
func inContainer() bool {
	return os.Getpid() == 1 || slices.ContainsFunc(containerMarks, func(path string) bool {
		_, err := os.Stat(path)
		return err == nil
	})
}
