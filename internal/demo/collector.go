package main

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Keys of the demonstration's collector, which listens on loopback only.
const apiKey, secretKey = "demo-api-key", "demo-secret-key"

// A collector is a running collector, used through its API.
type collector struct {
	*process
	url string
}

func startCollector(ctx context.Context, bin, data, addr string) (*collector, error) {
	p, err := start(ctx, bin, "blindai-collector", []string{"COLLECTOR_API_KEY=" + apiKey, "COLLECTOR_SECRET_KEY=" + secretKey},
		"data ", "serve", "--listen", addr, "--data", data)
	if err != nil {
		return nil, err
	}
	url := regexp.MustCompile(`console +(\S+)/`).FindStringSubmatch(p.printed())
	if url == nil {
		p.stop()
		return nil, fmt.Errorf("the collector did not print where its console is")
	}
	return &collector{process: p, url: url[1]}, nil
}

// get fetches a path with the keys.
func (c *collector) get(ctx context.Context, path string) (status int, body []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+path, nil)
	if err != nil {
		return 0, nil, err
	}
	req.SetBasicAuth(apiKey, secretKey)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, fmt.Errorf("ask the collector: %w", err)
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(resp.Body)
	return resp.StatusCode, body, err
}

// An event is a line of the export.
type event map[string]any

// export returns all events, in the order in which they arrived.
func (c *collector) export(ctx context.Context) ([]event, error) {
	const hour = "20060102T15"
	now := time.Now().UTC()
	path := "/api/2/export?start=" + now.Add(-time.Hour).Format(hour) + "&end=" + now.Add(time.Hour).Format(hour)
	status, body, err := c.get(ctx, path)
	if err != nil {
		return nil, err
	}
	if status == http.StatusNotFound {
		return nil, nil
	}
	if status != http.StatusOK {
		return nil, fmt.Errorf("the export is answered %d", status)
	}
	z, err := zip.NewReader(bytes.NewReader(body), int64(len(body)))
	if err != nil {
		return nil, fmt.Errorf("read the export: %w", err)
	}
	var events []event
	for _, f := range z.File {
		in, err := f.Open()
		if err != nil {
			return nil, fmt.Errorf("read the export: %w", err)
		}
		g, err := gzip.NewReader(in)
		if err != nil {
			return nil, fmt.Errorf("read the export: %w", err)
		}
		for d := json.NewDecoder(g); ; {
			var e event
			if err := d.Decode(&e); err == io.EOF {
				break
			} else if err != nil {
				return nil, fmt.Errorf("read the export: %w", err)
			}
			events = append(events, e)
		}
	}
	return events, nil
}

// waitForEvents waits until the collector has n events: the server looks every
// two seconds.
func (c *collector) waitForEvents(ctx context.Context, n int) ([]event, error) {
	deadline := time.Now().Add(patience)
	for {
		events, err := c.export(ctx)
		if err != nil || len(events) >= n {
			return events, err
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("the collector has %d events after %v, want %d", len(events), patience, n)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// printSent shows one event of each type, as the collector has it, and how many
// there are.
func printSent(out io.Writer, events []event) {
	fmt.Fprintln(out, "This is all that was sent:")
	count := map[string]int{}
	var order []string
	first := map[string]event{}
	for _, e := range events {
		t := fmt.Sprint(e["event_type"])
		if count[t]++; count[t] == 1 {
			order = append(order, t)
			first[t] = e
		}
	}
	for _, t := range order {
		fmt.Fprintf(out, "\n%s, %s\n", t, times(count[t]))
		w := tabwriter.NewWriter(out, 4, 0, 2, ' ', 0)
		e := first[t]
		for _, name := range []string{"user_id", "insert_id", "time", "app_version", "device_id"} {
			fmt.Fprintf(w, "    %s\t%s\n", name, value(e[name]))
		}
		for _, part := range []string{"user_properties", "event_properties"} {
			m, _ := e[part].(map[string]any)
			for _, name := range sorted(m) {
				fmt.Fprintf(w, "    %s\t%s\n", name, value(m[name]))
			}
		}
		w.Flush()
	}
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times; the first was", n)
}

// value prints numbers without an exponent.
func value(v any) string {
	if f, ok := v.(float64); ok {
		return fmt.Sprintf("%.0f", f)
	}
	return fmt.Sprint(v)
}

func sorted(m map[string]any) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// checkConsole looks at the page as a browser without scripts gets it.
func (c *collector) checkConsole(ctx context.Context) error {
	status, body, err := c.get(ctx, "/")
	if err != nil {
		return err
	}
	for _, want := range []string{"started", "send_model", "run_model", "SW"} {
		if status != http.StatusOK || !strings.Contains(string(body), want) {
			return fmt.Errorf("the console is answered %d and does not show %s", status, want)
		}
	}
	return nil
}

// checkSent holds the events against what must be there: one start, one upload
// with the model's size, each run once, and nothing but the published fields.
func checkSent(events []event, model string, runs int) error {
	info, err := os.Stat(model)
	if err != nil {
		return err
	}
	count := map[string]int{}
	seen := map[any]bool{}
	for _, e := range events {
		t := fmt.Sprint(e["event_type"])
		count[t]++
		if seen[e["insert_id"]] {
			return fmt.Errorf("an event is there twice")
		}
		seen[e["insert_id"]] = true
		if err := checkEvent(e, t, float64(info.Size())); err != nil {
			return fmt.Errorf("event %s: %w", t, err)
		}
	}
	if len(count) != 3 || count["started"] != 1 || count["send_model"] != 1 || count["run_model"] != runs {
		return fmt.Errorf("the collector has %v, want 1 started, 1 send_model and %d run_model", count, runs)
	}
	return nil
}

var (
	idForm      = regexp.MustCompile(`^[0-9a-f]{32}$`)
	versionForm = regexp.MustCompile(`^[0-9]+(\.[0-9]+)*(-(dev|(alpha|beta|rc)\.[0-9]+))?$`)
	systemForm  = regexp.MustCompile(`^[a-z0-9]+/[a-z0-9]+$`)
)

func checkEvent(e event, eventType string, modelSize float64) error {
	text := func(name string) string { s, _ := e[name].(string); return s }
	user, _ := e["user_properties"].(map[string]any)
	props, _ := e["event_properties"].(map[string]any)
	at, _ := e["time"].(float64)
	uptime, hasUptime := props["uptime"].(float64)
	id := text("user_id")
	switch {
	case !idForm.MatchString(id):
		return fmt.Errorf("user_id is not 32 hex digits")
	case !versionForm.MatchString(text("app_version")):
		return fmt.Errorf("app_version is not a version")
	case !systemForm.MatchString(text("device_id")):
		return fmt.Errorf("device_id is not a system")
	case !regexp.MustCompile(`^` + id + `-[0-9]+$`).MatchString(text("insert_id")):
		return fmt.Errorf("insert_id is not user_id and a number")
	case time.Since(time.UnixMilli(int64(at))).Abs() > time.Hour:
		return fmt.Errorf("time is not about now in milliseconds")
	case user["sgx_mode"] != "SW" || len(user) != 1:
		return fmt.Errorf("user_properties is not sgx_mode SW alone")
	case !hasUptime || uptime < 0 || uptime > 3600:
		return fmt.Errorf("uptime is not a few seconds")
	}
	own := 1
	if eventType == "send_model" {
		own = 2
		if props["model_size"] != modelSize {
			return fmt.Errorf("model_size is not the size of the file")
		}
	}
	if len(props) != own {
		return fmt.Errorf("event_properties has %d fields, want %d", len(props), own)
	}
	published := []string{"user_id", "app_version", "device_id", "event_type", "time", "insert_id", "user_properties", "event_properties"}
	// What the collector adds by itself: when it arrived, and Amplitude's names.
	added := []string{"$insert_id", "version_name", "event_time", "client_event_time", "server_received_time", "server_upload_time"}
	for name := range e {
		if !slices.Contains(published, name) && !slices.Contains(added, name) {
			return fmt.Errorf("the field %s is not published", name)
		}
	}
	return nil
}
