package telemetry

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"time"

	"github.com/blindai-go/blindai/telemetry/plan"
)

// Config configures a Client. Its zero value works: without a destination
// telemetry is off.
type Config struct {
	// Version is the program's own version, of kind plan.Version. Empty is
	// sent as missing.
	Version string

	// URL is the full endpoint, as in Amplitude's SDKs; without a path it means
	// /2/httpapi. APIKey goes with it. Both are the user's own choice.
	URL, APIKey string

	// BuiltInURL and BuiltInAPIKey are the destination that a release carries.
	// It counts only where URL and APIKey are both empty.
	BuiltInURL, BuiltInAPIKey string

	// EnvVar is the program's own variable that switches telemetry off, beside
	// DO_NOT_TRACK.
	EnvVar string

	// Settings are further sources, in the order in which they are to be named.
	Settings []Setting

	// Consent says what happens before anybody has made a choice. Default OptOut.
	Consent Consent

	// StateDir is the folder that keeps events until they are delivered, across
	// the end of the process, and the session's secret, so that whoever owns
	// the folder can see and erase what was sent. It is made with mode 0700.
	// Empty keeps both in memory only.
	StateDir string

	// Interval is the time between two looks for new events. Default 2 s.
	Interval time.Duration

	// QueueSize bounds the events that wait, rounded up to a power of two; an
	// event takes 64 bytes, in memory or in the state folder. Default 131,072,
	// 8 MiB: a burst of 100,000 events between two looks fits.
	QueueSize int

	// CAFile is a file of certificates in PEM that are trusted in place of the
	// system's.
	CAFile string

	// Gzip compresses requests. The header Content-Encoding then travels too.
	Gzip bool

	// Timeout bounds one request. Default 10 s, as Amplitude's SDKs have it.
	Timeout time.Duration

	// CloseTimeout bounds Close if its context has no deadline. Default 2 s.
	CloseTimeout time.Duration

	// Logger gets one line for each change of state: delivery stopped working,
	// delivery works again. Default: no log.
	Logger *slog.Logger

	// Transport carries the requests, and CAFile is not looked at. Default: a
	// transport of its own, with the proxy from the environment, TLS 1.2 or newer,
	// and HTTP/1.1. What another one adds to a request, no preview shows.
	Transport http.RoundTripper

	// Getenv reads the environment. Default os.Getenv.
	Getenv func(string) string

	// now is the wall clock, read once at the start of a session; everything
	// else is measured by the monotonic one. Tests replace it to make it jump.
	now func() time.Time

	// listen opens the socket at which a session answers the commands. Tests
	// replace it where a socket would stop their clock; nil is no socket.
	listen func(path string) (net.Listener, error)

	// proxy returns the proxy that a request goes through, if any. Tests replace
	// it: the environment's is read once in a process, and never for loopback.
	proxy func(*http.Request) (*url.URL, error)

	// jitter draws a wait between 0 and its argument. Tests replace it.
	jitter func(time.Duration) time.Duration
}

// withDefaults fills each zero.
func (c Config) withDefaults() Config {
	if c.Interval == 0 {
		c.Interval = 2 * time.Second
	}
	if c.QueueSize == 0 {
		c.QueueSize = 1 << 17
	}
	if c.Timeout == 0 {
		c.Timeout = 10 * time.Second
	}
	if c.CloseTimeout == 0 {
		c.CloseTimeout = 2 * time.Second
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Getenv == nil {
		c.Getenv = os.Getenv
	}
	if c.now == nil {
		c.now = time.Now
	}
	if c.listen == nil {
		c.listen = listenAt
	}
	if c.proxy == nil {
		c.proxy = http.ProxyFromEnvironment
		if c.Transport != nil {
			c.proxy = func(*http.Request) (*url.URL, error) { return nil, nil }
		}
		if t, is := c.Transport.(*http.Transport); is && t.Proxy != nil {
			c.proxy = t.Proxy
		}
	}
	if c.jitter == nil {
		c.jitter = func(d time.Duration) time.Duration { return rand.N(d + 1) }
	}
	return c
}

// check reports every fault of a configuration at once.
func (c Config) check() error {
	var faults []error
	if c.Version != "" && !plan.ValidVersion(c.Version) {
		faults = append(faults, fmt.Errorf("telemetry: Config.Version must be %s", plan.Version.Rule()))
	}
	for _, d := range []struct {
		name string
		bad  bool
	}{
		{"Interval", c.Interval < 0}, {"QueueSize", c.QueueSize < 0 || c.QueueSize > 1<<26},
		{"Timeout", c.Timeout < 0}, {"CloseTimeout", c.CloseTimeout < 0}, {"Consent", c.Consent > OptIn},
	} {
		if d.bad {
			faults = append(faults, fmt.Errorf("telemetry: Config.%s is out of range", d.name))
		}
	}
	return errors.Join(faults...)
}

// destination returns the user's own choice, or else the built-in one.
func (c Config) destination() (url, key string) {
	if c.URL != "" || c.APIKey != "" {
		return c.URL, c.APIKey
	}
	return c.BuiltInURL, c.BuiltInAPIKey
}

// system is the value of device_id.
func system() string { return runtime.GOOS + "/" + runtime.GOARCH }
