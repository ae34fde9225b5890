// Package web is the page for people: one HTML file, a style sheet and ES modules, embedded as they are. There is no
// build step and nothing comes from another host.
//
// [Handler] promises: every answer carries a content security policy under which the page can run no inline script,
// build no HTML from text, load nothing from elsewhere and not be framed; every file has an ETag and is asked for again
// each time, so that a page is never put together from two versions of the server for longer than a reload. It owns no
// goroutine and holds no state but the embedded files.
//
// The page finds the WebSocket at "ws", relative to where it is served, and speaks chat.v1 there. static/chat.js is the
// protocol, without a DOM; static/app.js shows what it tells.
package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
	"time"
)

//go:embed static
var files embed.FS

// contentTypes names what is served; a file of another kind is a mistake that the tests find. The system's own table
// of types differs between machines, so it is not asked.
var contentTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
}

// policy needs no unsafe-inline and no nonce: there is no inline script or style. 'self' in connect-src covers the
// WebSocket of the same host. Trusted types forbid innerHTML and its kin in every script.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

type asset struct {
	name, contentType, etag string
	body                    []byte
}

// Handler serves the page at "/" and its parts under "/static/". Anything else is not found; methods other than GET and
// HEAD are not allowed.
func Handler() http.Handler {
	assets := load()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		a, found := assets[r.URL.Path]
		if !found {
			h.Set("Cache-Control", "no-store")
			http.Error(w, "not found", http.StatusNotFound)
			return
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			h.Set("Allow", "GET, HEAD")
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		h.Set("Content-Type", a.contentType)
		h.Set("Cache-Control", "no-cache") // may be kept, must be asked for: the ETag makes that cheap
		h.Set("ETag", a.etag)
		http.ServeContent(w, r, a.name, time.Time{}, bytes.NewReader(a.body))
	})
}

// load returns the assets by URL path.
func load() map[string]asset {
	assets := make(map[string]asset)
	err := fs.WalkDir(files, "static", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := files.ReadFile(name)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(body)
		a := asset{
			name: path.Base(name), contentType: contentTypes[path.Ext(name)],
			etag: `"` + hex.EncodeToString(sum[:16]) + `"`, body: body,
		}
		if name == "static/index.html" {
			assets["/"] = a
			return nil
		}
		assets["/"+name] = a
		return nil
	})
	if err != nil {
		panic(err) // the files are part of the binary: nothing can be missing at run time
	}
	return assets
}
