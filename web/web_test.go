package web

import (
	"io"
	"net/http"
	"net/http/httptest"
	"path"
	"regexp"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func get(t *testing.T, method, target string, header ...string) *http.Response {
	t.Helper()
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	Handler().ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestEveryFileIsServedWithItsTypeAndHeaders(t *testing.T) {
	t.Parallel()
	for target, a := range load() {
		r := get(t, http.MethodGet, target)
		if r.StatusCode != http.StatusOK {
			t.Errorf("%s: status %d", target, r.StatusCode)
		}
		if want := contentTypes[path.Ext(a.name)]; want == "" || r.Header.Get("Content-Type") != want {
			t.Errorf("%s: content type %q, want %q", target, r.Header.Get("Content-Type"), want)
		}
		if got := body(t, r); got != string(a.body) {
			t.Errorf("%s: %d bytes, want %d", target, len(got), len(a.body))
		}
		for name, want := range map[string]string{
			"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff",
			"Cache-Control": "no-cache", "Referrer-Policy": "no-referrer",
		} {
			if got := r.Header.Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", target, name, got, want)
			}
		}
	}
}

func TestPolicyAllowsNothingInlineAndNothingFromElsewhere(t *testing.T) {
	t.Parallel()
	if !strings.HasPrefix(policy, "default-src 'none';") {
		t.Errorf("the policy does not start from nothing: %s", policy)
	}
	for _, bad := range []string{"unsafe", "*", "http:", "https:", "data:"} {
		if strings.Contains(policy, bad) {
			t.Errorf("the policy contains %q: %s", bad, policy)
		}
	}
	for _, want := range []string{"frame-ancestors 'none'", "base-uri 'none'", "require-trusted-types-for 'script'"} {
		if !strings.Contains(policy, want) {
			t.Errorf("the policy lacks %q: %s", want, policy)
		}
	}
}

func TestAnUnchangedFileIsNotSentAgain(t *testing.T) {
	t.Parallel()
	for target := range load() {
		etag := get(t, http.MethodGet, target).Header.Get("ETag")
		r := get(t, http.MethodGet, target, "If-None-Match", etag)
		if r.StatusCode != http.StatusNotModified || body(t, r) != "" {
			t.Errorf("%s with its ETag %s: status %d, want 304 without a body", target, etag, r.StatusCode)
		}
		if r = get(t, http.MethodGet, target, "If-None-Match", `"other"`); r.StatusCode != http.StatusOK {
			t.Errorf("%s with another ETag: status %d, want 200", target, r.StatusCode)
		}
	}
}

func TestWhatIsNotServed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		method, target string
		want           int
	}{
		{http.MethodHead, "/", http.StatusOK},
		{http.MethodPost, "/", http.StatusMethodNotAllowed},
		{http.MethodDelete, "/static/app.js", http.StatusMethodNotAllowed},
		{http.MethodGet, "/static/", http.StatusNotFound},
		{http.MethodGet, "/static/index.html", http.StatusNotFound},
		{http.MethodGet, "/index.html", http.StatusNotFound},
		{http.MethodGet, "/static/../web.go", http.StatusNotFound},
		{http.MethodGet, "/nothing", http.StatusNotFound},
	} {
		r := get(t, c.method, c.target)
		if r.StatusCode != c.want {
			t.Errorf("%s %s: status %d, want %d", c.method, c.target, r.StatusCode, c.want)
		}
		if r.Header.Get("X-Content-Type-Options") != "nosniff" || r.Header.Get("Content-Security-Policy") == "" {
			t.Errorf("%s %s: lacks the security headers", c.method, c.target)
		}
		if c.method == http.MethodHead && body(t, r) != "" {
			t.Errorf("%s %s: has a body", c.method, c.target)
		}
	}
}

var (
	reference = regexp.MustCompile(`(?:src|href)="([^"]*)"`)
	imported  = regexp.MustCompile(`(?m)^(?:import|export)\b[^;]*?\bfrom "([^"]+)"`)
	scriptTag = regexp.MustCompile(`(?is)<script([^>]*)>(.*?)</script>`)
	inline    = regexp.MustCompile(`(?i)<style|\sstyle=|\son[a-z]+=|javascript:`)
)

func TestEveryReferenceIsAnEmbeddedFileAndEveryFileIsUsed(t *testing.T) {
	t.Parallel()
	assets := load()
	used := map[string]bool{"/": true}
	refer := func(from, target string) {
		if _, found := assets[target]; !found {
			t.Errorf("%s refers to %s, which is not embedded", from, target)
		}
		used[target] = true
	}
	for _, m := range reference.FindAllStringSubmatch(string(assets["/"].body), -1) {
		refer("index.html", "/"+m[1])
	}
	for name, a := range assets {
		if path.Ext(name) != ".js" {
			continue
		}
		for _, m := range imported.FindAllStringSubmatch(string(a.body), -1) {
			refer(name, path.Join("/static", m[1]))
		}
	}
	for name := range assets {
		if !used[name] {
			t.Errorf("%s is embedded and nothing refers to it", name)
		}
	}
}

func TestThePageHasNothingInline(t *testing.T) {
	t.Parallel()
	html := string(load()["/"].body)
	if m := inline.FindString(html); m != "" {
		t.Errorf("index.html contains %q, which the policy forbids", m)
	}
	scripts := scriptTag.FindAllStringSubmatch(html, -1)
	if len(scripts) == 0 {
		t.Error("index.html has no script")
	}
	for _, m := range scripts {
		if !strings.Contains(m[1], "src=") || strings.TrimSpace(m[2]) != "" {
			t.Errorf("inline script: %s", m[0])
		}
	}
}

func TestScriptsInsertTextAsTextOnly(t *testing.T) {
	t.Parallel()
	for name, a := range load() {
		if path.Ext(name) != ".js" {
			continue
		}
		for _, bad := range []string{"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "DOMParser"} {
			if strings.Contains(string(a.body), bad) {
				t.Errorf("%s uses %s", name, bad)
			}
		}
	}
}

var (
	idAttribute = regexp.MustCompile(`\sid="([^"]+)"`)
	idUsed      = regexp.MustCompile(`(?:\$|getElementById)\("([^"]+)"\)`)
	idReferred  = regexp.MustCompile(`\s(?:for|aria-controls|aria-describedby|aria-labelledby)="([^"]+)"`)
)

// TestEveryIDThatIsUsedExists finds the typing mistake that a compiler would.
func TestEveryIDThatIsUsedExists(t *testing.T) {
	t.Parallel()
	assets := load()
	html := string(assets["/"].body)
	ids := map[string]bool{}
	for _, m := range idAttribute.FindAllStringSubmatch(html, -1) {
		if ids[m[1]] {
			t.Errorf("index.html has the id %q twice", m[1])
		}
		ids[m[1]] = true
	}
	for _, m := range idReferred.FindAllStringSubmatch(html, -1) {
		if !ids[m[1]] {
			t.Errorf("index.html refers to the id %q, which it does not have", m[1])
		}
	}
	for name, a := range assets {
		if path.Ext(name) != ".js" {
			continue
		}
		for _, m := range idUsed.FindAllStringSubmatch(string(a.body), -1) {
			if !ids[m[1]] {
				t.Errorf("%s asks for the id %q, which index.html does not have", name, m[1])
			}
		}
	}
}

func TestNothingComesFromAnotherHost(t *testing.T) {
	t.Parallel()
	elsewhere := regexp.MustCompile(`(?i)(?:https?:)?//[a-z0-9-]+\.[a-z]`)
	for name, a := range load() {
		text := strings.ReplaceAll(string(a.body), "http://www.w3.org/2000/svg", "") // a name, never fetched
		if m := elsewhere.FindString(text); m != "" {
			t.Errorf("%s refers to another host: %s", name, m)
		}
		if path.Ext(name) == ".css" && strings.Contains(text, "url(") {
			t.Errorf("%s fetches something", name)
		}
	}
}
