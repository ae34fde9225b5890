package admin_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/rafaeldepontes/go-chat/internal/admin"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func ask(s *admin.Server, path string) (int, string) {
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w.Code, w.Body.String()
}

func TestHealthAndMetrics(t *testing.T) {
	t.Parallel()
	s := admin.New()
	if code, body := ask(s, "/healthz"); code != http.StatusOK || body != "ok\n" {
		t.Errorf("/healthz: got %d %q", code, body)
	}
	code, body := ask(s, "/metrics")
	if code != http.StatusOK || !strings.Contains(body, "go_goroutines") || !strings.Contains(body, "process_start_time_seconds") {
		t.Errorf("/metrics: got %d %q", code, body)
	}
	if code, _ := ask(s, "/debug/pprof/"); code != http.StatusOK {
		t.Errorf("/debug/pprof/: got %d", code)
	}
	if code, _ := ask(s, "/debug/pprof/cmdline"); code != http.StatusNotFound {
		t.Errorf("/debug/pprof/cmdline, which may hold a password: got %d", code)
	}
	s.Handle("GET /more", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "added") }))
	if code, body := ask(s, "/more"); code != http.StatusOK || body != "added" {
		t.Errorf("/more: got %d %q", code, body)
	}
	if code, _ := ask(s, "/"); code != http.StatusNotFound {
		t.Errorf("/: got %d", code)
	}
}

func TestReadyNamesWhatIsNot(t *testing.T) {
	t.Parallel()
	s := admin.New()
	if code, body := ask(s, "/readyz"); code != http.StatusOK || body != "ready\n" {
		t.Errorf("without checks: got %d %q", code, body)
	}
	broker := errors.New("not connected\nto localhost:5672")
	s.AddCheck("database", func(context.Context) error { return nil })
	s.AddCheck("rabbitmq", func(context.Context) error { return broker })
	s.AddCheck("history", func(context.Context) error { return errors.New("away") })
	code, body := ask(s, "/readyz")
	if want := "not ready\nrabbitmq: not connected to localhost:5672\nhistory: away\n"; code != http.StatusServiceUnavailable || body != want {
		t.Errorf("got %d %q, want 503 %q", code, body, want)
	}
}

func TestASlowCheckIsCutOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := admin.New()
		for _, name := range []string{"one", "two"} {
			s.AddCheck(name, func(ctx context.Context) error {
				<-ctx.Done()
				return ctx.Err()
			})
		}
		begin := time.Now()
		code, body := ask(s, "/readyz")
		if code != http.StatusServiceUnavailable || strings.Count(body, "deadline exceeded") != 2 {
			t.Errorf("got %d %q", code, body)
		}
		if took := time.Since(begin); took != admin.CheckTimeout {
			t.Errorf("took %s, want %s for all together", took, admin.CheckTimeout)
		}
	})
}
