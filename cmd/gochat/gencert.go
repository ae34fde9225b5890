package main

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/rafaeldepontes/go-chat/internal/config"
	"github.com/rafaeldepontes/go-chat/internal/tlsfiles"
)

func gencertCommand() command {
	return command{
		name: "gencert", summary: "makes a certificate authority and a certificate for development",
		setup: func(s *config.Set) runFunc {
			dir := s.String("dir", "certs", "folder to write to (default certs)", config.FlagOnly(), config.Value("DIR"), config.Check(config.NotEmpty))
			hosts := s.String("host", "", "names and IP addresses of the server beside localhost, comma separated",
				config.FlagOnly(), config.Value("LIST"), config.Check(certificateHosts))
			days := s.Int("days", 365, "days that the certificate is good for (default 365)", config.FlagOnly(), config.Check(config.Between(1, 3650)))
			force := s.Bool("force", false, "replace a certificate that is there", config.FlagOnly())
			return func(_ context.Context, std stdio, args []string) error {
				if len(args) > 0 {
					return usagef("gencert takes no words: %q (did you mean --host %s?)", args[0], args[0])
				}
				made, err := tlsfiles.Generate(tlsfiles.GenerateOptions{
					Dir: *dir, Hosts: config.List(*hosts), Life: time.Duration(*days) * 24 * time.Hour, Force: *force,
				})
				if err != nil {
					return err
				}
				return tellGenerated(std, made)
			}
		},
	}
}

func tellGenerated(std stdio, made tlsfiles.Generated) error {
	authority := "the authority in " + made.CA + " signed it"
	if made.NewAuthority {
		authority = "new authority " + made.CA + ", key " + made.CAKey
	}
	_, err := fmt.Fprintf(std.out, "certificate %s, key %s\nfor %s, until %s\n%s\n\nserver: --tls-cert %s --tls-key %s\nclient: --ca %s\n",
		made.Cert, made.Key, strings.Join(made.Hosts, ", "), made.NotAfter.UTC().Format(time.DateOnly), authority,
		made.Cert, made.Key, made.CA)
	return err
}

func certificateHosts(text string) error {
	for _, host := range config.List(text) {
		name := strings.TrimPrefix(host, "*.")
		bad := net.ParseIP(host) == nil && strings.ContainsFunc(name, func(r rune) bool { return r == '_' || !isNameRune(r) })
		if bad || name == "" {
			return fmt.Errorf("%q is neither a host name nor an IP address", host)
		}
	}
	return nil
}
