// Package admin serves what operators and their tools ask a running program: /healthz, /readyz, /metrics,
// /debug/pprof/, and what the program adds.
//
// It promises: /healthz answers 200 while the process serves at all; /readyz answers 503 with one line for each part
// that is not ready, within [CheckTimeout]. It belongs on a loopback address: nothing here asks who calls. The package
// starts goroutines only inside a request, and none outlives it if the checks respect their context.
package admin

import (
	"context"
	"fmt"
	"net/http"
	"net/http/pprof"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// CheckTimeout bounds all checks of one request together.
const CheckTimeout = 2 * time.Second

// Server answers for one process. Checks may be added while it serves.
type Server struct {
	// Immutable.
	registry *prometheus.Registry

	mu     sync.Mutex // guards the fields below
	checks []check
	added  map[string]http.Handler // by pattern
}

type check struct {
	name  string
	ready func(context.Context) error
}

// New makes a server with a registry of its own, which holds the collectors of the Go runtime and of the process.
func New() *Server {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return &Server{registry: r, added: map[string]http.Handler{}}
}

// Registry is where the parts of the program register their metrics.
func (s *Server) Registry() *prometheus.Registry { return s.registry }

// AddCheck names something that must be ready before the program is. ready returns nil, or why not; it must be safe for
// concurrent calls, end with its context, and keep passwords out of its errors.
func (s *Server) AddCheck(name string, ready func(ctx context.Context) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.checks = append(s.checks, check{name, ready})
}

// Handle adds what answers to a pattern of http.ServeMux, before Handler is called.
func (s *Server) Handle(pattern string, h http.Handler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.added[pattern] = h
}

// Handler serves the four addresses, and what was added.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		writeText(w, http.StatusOK, "ok\n")
	})
	mux.HandleFunc("GET /readyz", s.readyz)
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{Registry: s.registry}))
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	// No cmdline: a flag may hold a password.
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("POST /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	s.mu.Lock()
	defer s.mu.Unlock()
	for pattern, h := range s.added {
		mux.Handle(pattern, h)
	}
	return mux
}

func (s *Server) readyz(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	checks := slices.Clip(s.checks)
	s.mu.Unlock()

	ctx, cancel := context.WithTimeout(r.Context(), CheckTimeout)
	defer cancel()
	failures := make([]error, len(checks))
	var wg sync.WaitGroup
	for i, c := range checks {
		wg.Go(func() { failures[i] = c.ready(ctx) })
	}
	wg.Wait()

	var b strings.Builder
	for i, err := range failures {
		if err != nil {
			fmt.Fprintf(&b, "%s: %s\n", checks[i].name, strings.ReplaceAll(err.Error(), "\n", " "))
		}
	}
	if b.Len() > 0 {
		writeText(w, http.StatusServiceUnavailable, "not ready\n"+b.String())
		return
	}
	writeText(w, http.StatusOK, "ready\n")
}

func writeText(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text)) // the caller may be gone
}
