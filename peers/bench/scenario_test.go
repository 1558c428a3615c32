package bench

import (
	"bytes"
	"net/http"
	"os"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	Fence()
	code := m.Run()
	if counterDir != "" {
		os.RemoveAll(counterDir)
	}
	os.Exit(code)
}

// TestLibrariesDeliver: before anything is measured, what each library sends is
// understood. A round is what it takes at once.
func TestLibrariesDeliver(t *testing.T) {
	for _, l := range Libraries {
		t.Run(l.Name, func(t *testing.T) {
			t.Parallel()
			o, err := Burst(l, 2000)
			if err != nil {
				t.Fatal(err)
			}
			if o.Lost() != 0 || o.Doubled != 0 || o.Hung {
				t.Errorf("%d of %d events arrived, %d came twice, hung: %t", o.Delivered, o.Recorded, o.Doubled, o.Hung)
			}
		})
	}
}

// TestTelemetryLosesNothing runs the scenarios with a fault for our library.
func TestTelemetryLosesNothing(t *testing.T) {
	for name, scenario := range map[string]func(Library) (Outcome, error){"refused": Refused, "stalled": Stalled} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o, err := scenario(Telemetry)
			if err != nil {
				t.Fatal(err)
			}
			if o.Lost() != 0 || o.Doubled != 0 {
				t.Errorf("%d of %d events arrived, %d came twice", o.Delivered, o.Recorded, o.Doubled)
			}
			if o.Close > 5*time.Second { // a budget of 2 s, and a slow machine
				t.Errorf("Close took %v", o.Close)
			}
		})
	}
}

func TestEndpointCounts(t *testing.T) {
	e, err := OpenEndpoint(0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Stop)
	post := func(body string) {
		t.Helper()
		resp, err := http.Post(e.URL()+amplitudePath, "application/json", bytes.NewReader([]byte(body)))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	post(`{"events":[{"event_properties":{"model_size":0}},{"event_properties":{"model_size":70000,"uptime":1}}]}`)
	post(`{"events":[{"event_properties":{"uptime":1,"model_size":70000}}]}`)
	if arrived, doubled := e.Counts(); arrived != 2 || doubled != 1 {
		t.Errorf("arrived %d, doubled %d; want 2 and 1", arrived, doubled)
	}
	if e.Await(3, 10*time.Millisecond) {
		t.Error("Await saw an event that was not sent")
	}
}

func TestFence(t *testing.T) {
	// 192.0.2.0/24 is reserved for documentation (RFC 5737).
	for _, url := range []string{"http://192.0.2.1/", "http://collector.test/"} {
		if resp, err := http.Get(url); err == nil {
			resp.Body.Close()
			t.Errorf("%s could be reached", url)
		}
	}
}
