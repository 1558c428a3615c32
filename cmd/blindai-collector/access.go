package main

import (
	"net"
	"net/http"

	"github.com/blindai-go/blindai/collector"
)

// access lets through to the console whoever may see it: a browser on this
// machine, or someone with the keys of an app. That the peer is on this machine
// is not enough: the Host must name this machine too, or a page elsewhere could
// reach the console through a name that resolves to loopback, and a reverse
// proxy would open it to everyone.
func access(c *collector.Collector, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key, secret, _ := r.BasicAuth()
		if local(r) || c.Authenticate(key, secret) != nil {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="blindai-collector console", charset="UTF-8"`)
		http.Error(w, "The console asks for the API key (as user name) and the secret key (as password) of an app.", http.StatusUnauthorized)
	})
}

func local(r *http.Request) bool {
	peer, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil || !net.ParseIP(peer).IsLoopback() || r.Header.Get("X-Forwarded-For") != "" || r.Header.Get("Forwarded") != "" {
		return false
	}
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}
