//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"github.com/rafaeldepontes/go-chat/internal/services"
)

// up makes both servers answer and makes what the URLs name in them, a line for each thing that it does.
func up(ctx context.Context, out io.Writer, all targets, at places) error {
	st, err := loadState(at.state)
	if err != nil {
		return err
	}
	project, err := findCompose(ctx)
	if err != nil {
		return err
	}
	var kinds []services.Kind
	for _, t := range []target{all.postgres, all.rabbitmq} {
		if project.serves(t) && !t.listens(ctx) {
			kinds = append(kinds, t.kind)
			continue
		}
		if err := t.ensure(ctx, out, &st, at); err != nil {
			return err
		}
	}
	if len(kinds) > 0 {
		if err := project.up(ctx, out, &st, at, kinds); err != nil {
			return err
		}
	}
	for _, t := range []target{all.postgres, all.rabbitmq} {
		if err := t.await(ctx); err != nil {
			return err
		}
		with := tools{rabbitmqctl: func(ctx context.Context, args ...string) (string, error) { return output(ctx, "rabbitmqctl", args...) }}
		if project.runs(ctx, t) {
			with = tools{rabbitmqctl: project.rabbitmqctl, psql: project.psql}
		}
		if err := t.provision(ctx, out, with); err != nil {
			return err
		}
		fmt.Fprintf(out, "%s: answers at %s as user %s in %q\n", t.kind, t.address(), t.user, t.name)
	}
	return nil
}

// ensure starts the server unless somebody listens at its address.
func (t target) ensure(ctx context.Context, out io.Writer, st *state, at places) error {
	if t.listens(ctx) {
		fmt.Fprintf(out, "%s: somebody listens at %s already\n", t.kind, t.address())
		return nil
	}
	if !t.loopback() {
		return fmt.Errorf("nobody listens at %s: start %s there, or correct %s", t.address(), t.kind, t.setting)
	}
	if err := services.Install(ctx, out, t.kind); err != nil {
		return err
	}
	start := t.startOwn
	if os.Geteuid() == 0 && t.kind == services.PostgreSQL && t.cluster(ctx) != [2]string{} {
		start = t.startCluster
	}
	if os.Geteuid() == 0 && t.kind == services.RabbitMQ && services.Debian() && t.port == brokerPort && onPath("rabbitmq-server") {
		start = t.startBroker
	}
	if err := start(ctx, out, st, at); err != nil {
		return err
	}
	return st.save(at.state)
}

// brokerPort is the distribution's: its broker is one node with one name, and may run elsewhere already.
const brokerPort = 5672

func onPath(name string) bool {
	_, err := exec.LookPath(name)
	return err == nil
}

// cluster finds the Debian cluster (version, name) of the wanted port; the zero value where there is none.
func (t target) cluster(ctx context.Context) [2]string {
	list, err := output(ctx, "pg_lsclusters", "--no-header")
	if err != nil {
		return [2]string{} // not Debian's PostgreSQL
	}
	for line := range strings.Lines(list) {
		fields := strings.Fields(line) // version, name, port, state, owner, data folder, log
		if len(fields) >= 3 && fields[2] == strconv.Itoa(t.port) {
			return [2]string{fields[0], fields[1]}
		}
	}
	return [2]string{}
}

func (t target) startCluster(ctx context.Context, out io.Writer, st *state, _ places) error {
	c := t.cluster(ctx)
	if _, err := output(ctx, "pg_ctlcluster", c[0], c[1], "start"); err != nil {
		return err
	}
	st.Clusters = append(st.Clusters, c)
	fmt.Fprintf(out, "%s: started cluster %s/%s\n", t.kind, c[0], c[1])
	return nil
}

// startBroker starts the distribution's RabbitMQ, which then runs as its own user.
func (t target) startBroker(ctx context.Context, out io.Writer, st *state, _ places) error {
	if _, err := output(ctx, "rabbitmq-server", "-detached"); err != nil {
		return err
	}
	st.RabbitMQ = true
	fmt.Fprintf(out, "%s: started the installed server\n", t.kind)
	return nil
}

// startOwn starts a server with its data in a folder of ours, for users who may not touch the distribution's, and
// gives a new RabbitMQ the user and the virtual host of the URL.
func (t target) startOwn(ctx context.Context, out io.Writer, st *state, at places) error {
	if err := os.MkdirAll(at.data, 0o755); err != nil {
		return err
	}
	opts := services.Options{Port: t.port, Detach: true}
	var srv *services.Server
	var err error
	if t.kind == services.PostgreSQL {
		srv, err = services.StartPostgres(ctx, at.data, opts)
	} else {
		opts.Settings = map[string]string{"default_user": t.user, "default_pass": t.pass, "default_vhost": t.name}
		srv, err = services.StartRabbitMQ(ctx, at.data, opts)
	}
	if err != nil {
		return err
	}
	st.Programs = append(st.Programs, srv.Detached()...)
	fmt.Fprintf(out, "%s: started an own server with its data in %s\n", t.kind, at.data)
	return nil
}

// down stops what up started. What fails to stop is remembered for the next time.
func down(ctx context.Context, out io.Writer, at places) error {
	st, err := loadState(at.state)
	if err != nil {
		return err
	}
	if st.empty() {
		fmt.Fprintln(out, "nothing to stop: up started no server here")
		return nil
	}
	var left state
	var errs []error
	stop := func(what string, err error) bool {
		if err != nil {
			errs = append(errs, err)
			return false
		}
		fmt.Fprintln(out, "stopped", what)
		return true
	}
	if st.Compose != "" {
		_, err := runCompose(ctx, st.Compose, append([]string{"down"}, st.Containers...)...)
		if !stop("the containers; their volumes stay", err) {
			left.Compose, left.Containers = st.Compose, st.Containers
		}
	}
	for _, c := range st.Clusters {
		_, err := output(ctx, "pg_ctlcluster", c[0], c[1], "stop", "--mode", "fast")
		var exit *exec.ExitError
		if errors.As(err, &exit) && exit.ExitCode() == clusterIsDown {
			err = nil
		}
		if !stop("PostgreSQL cluster "+c[0]+"/"+c[1], err) {
			left.Clusters = append(left.Clusters, c)
		}
	}
	if st.RabbitMQ {
		_, err := output(ctx, "rabbitmqctl", "shutdown")
		if !stop("RabbitMQ", err) {
			left.RabbitMQ = true
		}
	}
	for _, p := range st.Programs {
		if !stop(p.Name, p.Stop(ctx)) {
			left.Programs = append(left.Programs, p)
		}
	}
	return errors.Join(append(errs, left.save(at.state))...)
}

// clusterIsDown is the exit code of pg_ctlcluster stop for a cluster that does not run.
const clusterIsDown = 2
