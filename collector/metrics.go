package collector

import (
	"net/http"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics counts what the operator watches. Labels are the names of apps, of
// fields that a plan declares, of routes, and words of ours: never anything that
// a sender wrote.
type metrics struct {
	registry *prometheus.Registry

	requests  *prometheus.CounterVec // by route and code
	events    *prometheus.CounterVec // by app and outcome: stored, repeated, erased
	refused   *prometheus.CounterVec // by app, rule and field
	identifys *prometheus.CounterVec // by app
	limited   *prometheus.CounterVec // by app

	secretsLimited prometheus.Counter

	commitEvents  prometheus.Histogram
	commitSeconds prometheus.Histogram
	commitsFailed prometheus.Counter

	erased *prometheus.CounterVec // by app, and what: events, sessions
}

func newMetrics(c *Collector) *metrics {
	const prefix = "blindai_collector_"
	m := &metrics{registry: prometheus.NewRegistry()}
	counter := func(name, help string) prometheus.Counter {
		v := prometheus.NewCounter(prometheus.CounterOpts{Name: prefix + name, Help: help})
		m.registry.MustRegister(v)
		return v
	}
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: prefix + name, Help: help}, labels)
		m.registry.MustRegister(v)
		return v
	}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		v := prometheus.NewHistogram(prometheus.HistogramOpts{Name: prefix + name, Help: help, Buckets: buckets})
		m.registry.MustRegister(v)
		return v
	}
	m.requests = counters("requests_total", "Requests by route and the code of the answer.", "route", "code")
	m.events = counters("events_total",
		"Events that passed the guard: stored, repeated (counted once before), or erased (of senders that were erased, and thrown away).", "app", "outcome")
	m.refused = counters("events_refused_total", "Events and identifications that the guard refused, by rule and declared field.", "app", "rule", "field")
	m.identifys = counters("identifications_total", "Identifications that were taken in place of events.", "app")
	m.limited = counters("limited_total", "Requests that were sent away because their app or a session of it was too fast.", "app")
	m.secretsLimited = counter("secrets_limited_total", "Requests to erase or show that were sent away because too many secrets fitted nothing.")
	m.commitEvents = histogram("commit_events", "Events in a commit.", prometheus.ExponentialBuckets(1, 4, 9)) // to 65,536
	m.commitSeconds = histogram("commit_seconds", "How long a commit took.", prometheus.ExponentialBuckets(0.001, 2, 14))
	m.commitsFailed = counter("commits_failed_total", "Commits that failed. Their events were not acknowledged.")
	m.erased = counters("erased_total", "What erasures removed: events and sessions.", "app", "what")
	m.registry.MustRegister(
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: prefix + "undeclared_fields_total", Help: "Fields that no plan declares, and that were dropped from their event.",
		}, func() float64 { return float64(c.undeclaredFields()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: prefix + "waiting_requests", Help: "Requests that wait for the commit under way to end.",
		}, func() float64 { return float64(len(c.writer.jobs)) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: prefix + "identified_properties", Help: "User properties that are kept for the events that follow.",
		}, func() float64 { return float64(c.writer.identities.size.Load()) }),
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return m
}

func (m *metrics) countErased(n ErasedApp) {
	m.erased.WithLabelValues(n.App, "events").Add(float64(n.Events))
	m.erased.WithLabelValues(n.App, "sessions").Add(float64(n.Sessions))
}

// MetricsHandler shows the counts in the form that Prometheus reads. They are of
// all apps together, so they are for the operator.
func (c *Collector) MetricsHandler() http.Handler {
	return promhttp.HandlerFor(c.metrics.registry, promhttp.HandlerOpts{})
}

// counted counts what next answers.
func (m *metrics) counted(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		cw := &codeWriter{ResponseWriter: w, code: http.StatusOK}
		defer func() {
			route := r.Pattern
			if route == "" {
				route = "none"
			}
			m.requests.WithLabelValues(route, strconv.Itoa(cw.code)).Inc()
		}()
		next.ServeHTTP(cw, r)
	})
}

// A codeWriter remembers the code of an answer.
type codeWriter struct {
	http.ResponseWriter
	code int
}

func (w *codeWriter) WriteHeader(code int) {
	w.code = code
	w.ResponseWriter.WriteHeader(code)
}

// Unwrap is for http.ResponseController.
func (w *codeWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
