package telemetry

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// AmplitudeURL is the destination where an API key is given and no URL.
const AmplitudeURL = "https://api2.amplitude.com/2/httpapi"

// A Setting is what one source says about telemetry: a command-line flag, a
// configuration file, a choice kept in the state folder.
type Setting struct {
	Source string // shown to people, as "--no-telemetry" or the path of a file
	Says   Word
}

// A Word is what a source says.
type Word uint8

const (
	Silent Word = iota
	On
	Off
)

// A Decision says whether telemetry is on, and why.
type Decision struct {
	On     bool
	Source string // what decided: a Setting's Source, a variable's name, or "destination"
	Reason string // one sentence for people
	URL    string // the full endpoint, if On
}

// Decide is the one gate. It looks at every source in this order, and any
// source that says off wins over every source that says on:
//
//  1. The program's own variable (Config.EnvVar) and DO_NOT_TRACK: off if set to
//     anything but empty, "0", "false", "no" or "off", in any case.
//  2. Config.Settings, and then the choice kept in the state folder: off if any
//     says Off.
//  3. CI, by the same rule as the variables: off, unless Config names a
//     destination itself.
//  4. No destination: off. An API key alone means Amplitude; a URL without a
//     path means its /2/httpapi.
//  5. Config.Consent: OptIn is off unless a source says On; Notice is off at the
//     first start on a state folder, and always where there is none, unless a
//     source says On.
//
// It reads the state folder and writes nothing.
//
// The error is for a destination that cannot be used; it is not looked at when
// telemetry is off anyway.
func Decide(c Config) (Decision, error) {
	c = c.withDefaults()
	for _, name := range []string{c.EnvVar, "DO_NOT_TRACK"} {
		if name != "" && truthy(c.Getenv(name)) {
			return Decision{Source: name, Reason: "the environment variable " + name + " is set"}, nil
		}
	}
	settings := c.Settings
	choice, odd := readChoice(c.StateDir)
	if choice.Says != Silent {
		settings = append(slices.Clip(settings), choice)
	}
	for _, s := range settings {
		switch {
		case s.Says == Off && s == choice && odd != "":
			return Decision{Source: s.Source, Reason: odd}, nil
		case s.Says == Off:
			return Decision{Source: s.Source, Reason: s.Source + " says off"}, nil
		}
	}
	explicit := c.URL != "" || c.APIKey != ""
	if truthy(c.Getenv("CI")) && !explicit {
		return Decision{Source: "CI", Reason: "the environment variable CI is set and no destination was given"}, nil
	}
	target, key := c.destination()
	if target == "" && key == "" {
		return Decision{Source: "destination", Reason: "no destination is configured"}, nil
	}
	if key == "" {
		return Decision{Source: "destination", Reason: "a destination URL is configured, but no API key"}, nil
	}
	if target == "" {
		target = AmplitudeURL
	}
	endpoint, err := parseEndpoint(target)
	if err != nil {
		return Decision{Source: "destination", Reason: "the destination URL cannot be used"}, err
	}
	for _, s := range settings {
		if s.Says == On {
			return Decision{On: true, Source: s.Source, Reason: s.Source + " says on, and nothing says off", URL: endpoint}, nil
		}
	}
	switch {
	case c.Consent == OptIn:
		return Decision{Source: "consent", Reason: "nobody has said on"}, nil
	case c.Consent == Notice && (c.StateDir == "" || !noticeGiven(c.StateDir)):
		return Decision{Source: "notice", Reason: "this is the first start here; from the next one on, what the plan lists is sent"}, nil
	}
	return Decision{On: true, Source: "default", Reason: "nothing says off", URL: endpoint}, nil
}

// truthy reads a variable that switches something: set means yes, but for the
// words with which people say no. A space is not empty, and makes another word: when
// in doubt, nothing is sent.
func truthy(s string) bool {
	switch strings.ToLower(s) {
	case "", "0", "false", "no", "off":
		return false
	}
	return true
}

// parseEndpoint completes and checks a destination URL. The error does not
// repeat it: people put passwords into URLs.
func parseEndpoint(s string) (string, error) {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Opaque != "" || (u.Scheme != "http" && u.Scheme != "https") {
		return "", errors.New("the telemetry URL is not of the form https://host[:port][/path]")
	}
	if u.User != nil {
		return "", errors.New("the telemetry URL holds a user name or password; remove it, the API key is given on its own")
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/2/httpapi"
	}
	u.Fragment = ""
	return u.String(), nil
}

// amplitudeHost reports whether endpoint is one of Amplitude's own, which
// throttle by device_id.
func amplitudeHost(endpoint string) bool {
	u, err := url.Parse(endpoint)
	if err != nil {
		return false
	}
	host := strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
	return host == "amplitude.com" || strings.HasSuffix(host, ".amplitude.com")
}

// Exposed says in one sentence that what goes to the destination can be read on the
// way, where that is so, and nothing where it is not: with https, on this machine,
// and where telemetry is off.
func (d Decision) Exposed() string { return exposed(d.URL) }

func exposed(endpoint string) string {
	u, err := url.Parse(endpoint)
	if err != nil || u.Scheme != "http" || isLoopback(u.Hostname()) {
		return ""
	}
	return fmt.Sprintf("What is sent to %s, and the secret that shows and erases it, can be read on the way, because http:// is not encrypted; use https://.", origin(endpoint))
}

// isLoopback reports whether a host is this machine.
func isLoopback(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.Unmap().IsLoopback()
	}
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// String says the decision in one line.
func (d Decision) String() string {
	if d.On {
		return fmt.Sprintf("on (%s), sending to %s", d.Reason, d.URL)
	}
	return fmt.Sprintf("off (%s)", d.Reason)
}
