package main

import (
	"net"
	"net/http"
	"sync"

	"github.com/blindai-go/blindai/collector"
	"github.com/blindai-go/blindai/console"
)

// pages is the console for whoever may see it: all apps for a browser on this
// machine, and one's own app for someone with its keys. Apps in one collector
// may be of people who have nothing to do with each other.
type pages struct {
	access
	collector *collector.Collector
	config    console.Config // Apps is set for each console
	all       http.Handler

	mu  sync.Mutex // guards own
	own map[string]http.Handler
}

func newPages(c *collector.Collector, config console.Config, who access) (*pages, error) {
	config.Erased = c.Erasures
	config.Apps, config.Refused = c.Plans, func(app string) []console.Refused { return turnedAway(c.Refused(app)) }
	all, err := console.New(config)
	if err != nil {
		return nil, err
	}
	return &pages{access: who, collector: c, config: config, all: all, own: map[string]http.Handler{}}, nil
}

func (p *pages) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if p.local(r) {
		p.all.ServeHTTP(w, r)
		return
	}
	key, secret, _ := r.BasicAuth()
	app := p.collector.Authenticate(key, secret)
	if app == nil {
		w.Header().Set("WWW-Authenticate", `Basic realm="blindai-collector console", charset="UTF-8"`)
		http.Error(w, "The console asks for the API key (as user name) and the secret key (as password) of an app.", http.StatusUnauthorized)
		return
	}
	own, err := p.of(app.Name)
	if err != nil { // one was made at the start, so this is a broken bundle of --dev
		http.Error(w, "The console's files cannot be read.", http.StatusInternalServerError)
		return
	}
	own.ServeHTTP(w, r)
}

// turnedAway puts the collector's counts into the words of a page.
func turnedAway(counts []collector.Refused) (rows []console.Refused) {
	words := map[collector.Rule]string{
		collector.RuleValue:           "event with a value outside its field's kind",
		collector.RuleMissing:         "event that lacks a field",
		collector.RuleUndeclaredEvent: "event that the plan does not declare",
		collector.RuleUndeclaredField: "field that the plan does not declare, dropped from its event",
	}
	for _, c := range counts {
		rows = append(rows, console.Refused{What: words[c.Rule], Field: c.Field, Count: c.Count})
	}
	return rows
}

// of returns the console of one app, made at its first use.
func (p *pages) of(app string) (http.Handler, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if h := p.own[app]; h != nil {
		return h, nil
	}
	config := p.config
	config.Apps = p.collector.PlansOf(app)
	h, err := console.New(config)
	if err == nil {
		p.own[app] = h
	}
	return h, err
}

// operatorOnly lets through who is on this machine.
func (a access) operatorOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !a.local(r) {
			http.Error(w, "This is for the operator, on the collector's own machine.", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// An access says who counts as somebody on this machine, to whom the console shows
// all apps without a key.
type access struct {
	behindProxy bool // nobody: what comes from this machine may come from anywhere
}

// forwarding are the headers that proxies add, whatever they say in them.
var forwarding = []string{
	"Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port", "X-Forwarded-Server", "X-Real-Ip",
	"X-Client-Ip", "X-Cluster-Client-Ip", "True-Client-Ip", "Cf-Connecting-Ip", "Fastly-Client-Ip", "X-Original-Forwarded-For",
}

// local reports whether a request is from this machine. That the peer is on it
// is not enough: the Host must name this machine too, or a page elsewhere could
// reach the console through a name that resolves to loopback.
//
// A proxy on this machine is a peer on this machine. Most are seen by a header that
// they add, by a Host that they hand through, or by HTTP/1.0, which nginx speaks to
// what is behind it and no browser does. One that does none of it cannot be told
// from a browser, and so its operator has to say that it is there.
func (a access) local(r *http.Request) bool {
	peer, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil || !net.ParseIP(peer).IsLoopback() || a.behindProxy || !r.ProtoAtLeast(1, 1) {
		return false
	}
	for _, name := range forwarding {
		if _, has := r.Header[name]; has {
			return false
		}
	}
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}
