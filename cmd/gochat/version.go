package main

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/rafaeldepontes/go-chat/internal/config"
)

// version may be set when linking: -ldflags "-X main.version=1.2.3". Otherwise the build's own information counts.
var version string

// buildInfo is what gochat version --json prints.
type buildInfo struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Time     string `json:"time,omitempty"` // of the revision, RFC 3339
	Modified bool   `json:"modified,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func versionCommand() command {
	return command{
		name: "version", summary: "tells the version of this program",
		setup: func(s *config.Set) runFunc {
			asJSON := s.Bool("json", false, "print a JSON object", config.FlagOnly())
			return func(_ context.Context, std stdio, args []string) error {
				if len(args) > 0 {
					return usagef("version takes no words: %q", args[0])
				}
				info := readBuild()
				if *asJSON {
					return json.NewEncoder(std.out).Encode(info)
				}
				line := "gochat " + info.Version
				if len(info.Revision) >= 12 {
					line += " (" + info.Revision[:12]
					if info.Modified {
						line += ", changed"
					}
					line += ")"
				}
				_, err := fmt.Fprintf(std.out, "%s %s %s\n", line, info.Go, info.Platform)
				return err
			}
		},
	}
}

func readBuild() buildInfo {
	info := buildInfo{Version: version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if build, ok := debug.ReadBuildInfo(); ok {
		if v := build.Main.Version; info.Version == "" && v != "(devel)" {
			info.Version = v
		}
		for _, s := range build.Settings {
			switch s.Key {
			case "vcs.revision":
				info.Revision = s.Value
			case "vcs.time":
				info.Time = s.Value
			case "vcs.modified":
				info.Modified = s.Value == "true"
			}
		}
	}
	if info.Version == "" {
		info.Version = "devel"
	}
	return info
}
