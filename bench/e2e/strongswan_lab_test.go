//go:build linux

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/warrenvpn/warren"
	"github.com/warrenvpn/warren/bench/lab"
)

// swan is the laboratory in which warren, on host a, meets charon, on host b. warren's clear side is a host of its own with
// 10.1.0.1; charon's are addresses of its loopback, 10.2.0.1 and some beside it. One charon serves all cases of a test, each of
// which loads its own configuration and starts its own warren.
type swan struct {
	t            *testing.T
	ctx          context.Context
	lab          *lab.Lab
	a, b, inside *lab.Host
	program      string
	charon       *lab.StrongSwan

	dir    string // of the case: files that its configuration names, and its socket
	warren *lab.Process
	client *warren.Client
	logged int // octets of charon's log that are of earlier cases
}

// Where the clear side's addresses are.
var (
	swanOurs   = []string{"10.1.0.1/16", "10.11.0.1/24", "fd01::1/64"}
	swanTheirs = []string{"10.2.0.1/32", "10.22.0.1/32", "10.23.0.1/32", "fd02::1/128"}
)

func newSwan(t *testing.T) *swan {
	t.Helper()
	l, a, b := lab.PairForTest(t, append(lab.StrongSwanPrograms, "ping")...)
	s := &swan{t: t, lab: l, a: a, b: b, program: build(t)}
	s.ctx = limit(t)
	var err error
	s.inside, err = l.Host("ia")
	s.must(err)
	for _, addr := range swanTheirs {
		s.must(b.AddAddress("lo", addr))
	}
	s.charon, err = b.StartStrongSwan(s.ctx, "")
	s.must(err)
	return s
}

func (s *swan) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// caseLimit bounds one case.
const caseLimit = time.Minute

// run runs one case: what begins in it ends with it.
func (s *swan) run(name string, f func(s *swan)) {
	s.t.Run(name, func(t *testing.T) {
		one := *s
		one.t, one.dir, one.logged = t, t.TempDir(), len(s.charon.Log())
		var cancel context.CancelFunc
		one.ctx, cancel = context.WithTimeout(s.ctx, caseLimit)
		t.Cleanup(cancel)
		t.Cleanup(func() {
			if one.warren != nil {
				one.stop()
			}
			if t.Failed() {
				t.Logf("charon:\n%s", one.charonLog())
			}
		})
		f(&one)
	})
}

// charonLog is what charon has written in this case.
func (s *swan) charonLog() string { return s.charon.Log()[s.logged:] }

// file writes a file of the case and returns its path.
func (s *swan) file(name string, data []byte) string {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	s.must(os.WriteFile(path, data, 0o600))
	return path
}

// load gives charon its configuration.
func (s *swan) load(conf string) {
	s.t.Helper()
	s.must(os.WriteFile(s.charon.ConfigPath(), []byte(conf), 0o600))
	s.must(s.charon.Load(s.ctx))
}

// startConfig starts warren with a whole configuration.
func (s *swan) startConfig(conf string) {
	s.t.Helper()
	path, socket := s.file("warren.yaml", []byte(conf)), filepath.Join(s.dir, "w.sock")
	var err error
	s.warren, err = s.a.Start(s.program, "run", "--socket", socket, path)
	s.must(err)
	s.client = warren.NewClient(socket)
	s.must(s.warren.Wait(s.ctx, "the engine to answer", func() error {
		st, err := s.client.Status(s.ctx)
		if err == nil && st.State != "running" {
			err = errors.New(st.State)
		}
		return err
	}))
}

// start starts warren with the tunnel peer, of which the keys of ipsec are given, each on lines of its own.
func (s *swan) start(ipsec string) {
	s.t.Helper()
	s.startConfig(s.config(ipsec))
}

func (s *swan) config(ipsec string) string {
	return fmt.Sprintf(`underlay: {addresses: [%s]}
vrfs:
  main:
    port: {tun: warren0, netns: %q, addresses: ["%s"]}
    kernel: {export: [{from: ipsec}]}
tunnels:
  peer:
    ipsec:
      remote: %s
      start_action: none
%s`, lab.PairA4, s.inside.Namespace, strings.Join(swanOurs, `", "`), lab.PairB4, indent(ipsec, 6))
}

func indent(text string, by int) string {
	lines := strings.Split(strings.Trim(text, "\n"), "\n")
	for i := range lines {
		lines[i] = strings.Repeat(" ", by) + lines[i]
	}
	return strings.Join(lines, "\n") + "\n"
}

// stop ends warren, which must leave in peace.
func (s *swan) stop() {
	s.t.Helper()
	if err := s.warren.Stop(); err != nil {
		s.t.Errorf("SIGTERM: %v", err)
	}
	if err := s.warren.Err(); err != nil {
		s.t.Errorf("warren ended with %v", err)
	}
	log := s.warren.Log()
	if strings.Contains(log, "panic") || strings.Contains(log, secret) {
		s.t.Error("a panic or a secret in the log")
	}
	if s.t.Failed() {
		s.t.Logf("warren:\n%s", log)
	}
	s.warren = nil
}

// warrenSays runs the program against the engine.
func (s *swan) warrenSays(args ...string) string {
	s.t.Helper()
	out, err := exec.CommandContext(s.ctx, s.program, append(args, "--socket", filepath.Join(s.dir, "w.sock"))...).CombinedOutput()
	if err != nil {
		s.t.Errorf("warren %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// tunnel is the state of a tunnel.
func (s *swan) tunnel(name string) (warren.TunnelStatus, error) {
	st, err := s.client.Status(s.ctx)
	if err != nil {
		return warren.TunnelStatus{}, err
	}
	for i := range st.Tunnels {
		if st.Tunnels[i].Name == name {
			return st.Tunnels[i], nil
		}
	}
	return warren.TunnelStatus{}, fmt.Errorf("no tunnel %q", name)
}

// eventually waits until cond is content while warren lives.
func (s *swan) eventually(what string, cond func() error) {
	s.t.Helper()
	s.must(s.warren.Wait(s.ctx, what, cond))
}

// awaitUp waits for an IKE SA and so many child SAs.
func (s *swan) awaitUp(name string, children int) (t warren.TunnelStatus) {
	s.t.Helper()
	s.eventually(fmt.Sprintf("%d child SAs of %s", children, name), func() (err error) {
		if t, err = s.tunnel(name); err == nil && (len(established(&t)) != 1 || len(t.Children) != children || t.State != "up") {
			err = fmt.Errorf("%s, IKE %+v, children %+v", t.State, t.IKE, t.Children)
		}
		return err
	})
	return t
}

// awaitDown waits until neither side has an SA, but for ours that are deleted and let in what is late.
func (s *swan) awaitDown(name string) {
	s.t.Helper()
	s.eventually("no SA on either side", func() error {
		t, err := s.tunnel(name)
		if err != nil {
			return err
		}
		late := func(c warren.ChildStatus) bool { return c.State == "DELETED" }
		if len(t.IKE)+len(slices.DeleteFunc(slices.Clone(t.Children), late)) > 0 {
			return fmt.Errorf("ours: IKE %+v, children %+v", t.IKE, t.Children)
		}
		sas, err := s.charon.Ctl(s.ctx, "--list-sas")
		if err == nil && strings.TrimSpace(sas) != "" {
			err = fmt.Errorf("charon's: %s", sas)
		}
		return err
	})
}

// pings sends from each end of a pair to the other, and wants every answer. What charon opens it may lose on its way to its
// kernel when the machine is busy, so that there are several tries; agree says whether anything was lost before. One tells whether
// the first try was enough.
func (s *swan) pings(ours, theirs string) (one bool) {
	s.t.Helper()
	one = true
	for _, way := range []struct {
		from     *lab.Host
		src, dst string
	}{{s.inside, ours, theirs}, {s.b, theirs, ours}} {
		for try := 1; ; try++ {
			r, err := way.from.Ping(s.ctx, way.dst, 3, "-I", way.src, "-W", "2")
			if err == nil && r.Received == 3 {
				break
			}
			one = false
			if try == 8 || s.ctx.Err() != nil {
				s.t.Errorf("from %s to %s: %v %s", way.src, way.dst, err, r.Output)
				break
			}
		}
	}
	return one
}

// charonCounts are the lines of swanctl that tell what an SA has carried.
var charonCounts = regexp.MustCompile(`(?m)^ +(in|out) +[0-9a-f]+(?: \([^)]*\))?, +\d+ bytes, +(\d+) packets`)

// agree wants both sides to have counted the same packets: what one has sealed the other one has opened.
func (s *swan) agree(name string) {
	s.t.Helper()
	s.eventually("both sides to have counted the same", func() error {
		t, err := s.tunnel(name)
		if err != nil {
			return err
		}
		var ours, theirs struct{ out, in uint64 }
		for _, c := range t.Children {
			ours.out, ours.in = ours.out+c.Sent, ours.in+c.Received
		}
		sas, err := s.charon.Ctl(s.ctx, "--list-sas")
		for _, m := range charonCounts.FindAllStringSubmatch(sas, -1) {
			n, _ := strconv.ParseUint(m[2], 10, 64) // the pattern admits digits only
			if m[1] == "in" {
				theirs.in += n
			} else {
				theirs.out += n
			}
		}
		if ours.out != theirs.in || ours.in != theirs.out || ours.out == 0 {
			err = errors.Join(err, fmt.Errorf("%+v, charon %+v", ours, theirs))
		}
		return err
	})
}

// bothWays brings a connection up from either side, each time with pings between all pairs, and down again. children are
// charon's names, which are ours too.
func (s *swan) bothWays(children []string, pairs ...[2]string) {
	s.t.Helper()
	for _, ours := range []bool{true, false} {
		if ours {
			s.warrenSays("up", "peer")
		} else {
			for _, c := range children {
				s.must(s.charon.Initiate(s.ctx, c))
			}
		}
		t := s.awaitUp("peer", len(children))
		if t.IKE[0].Initiator != ours {
			s.t.Errorf("initiator: %v, want %v", t.IKE[0].Initiator, ours)
		}
		for _, p := range pairs {
			s.pings(p[0], p[1])
		}
		s.agree("peer")
		if s.t.Failed() {
			sas, err := s.charon.Ctl(s.ctx, "--list-sas")
			s.t.Logf("ours %+v\ncharon's %s %v", t, sas, err)
		}
		if ours {
			_, err := s.charon.Ctl(s.ctx, "--terminate", "--ike", "t")
			s.must(err)
		} else {
			s.warrenSays("down", "peer")
		}
		s.awaitDown("peer")
	}
}

// secret is the one that both sides share.
const secret = "PSK-of-the-laboratory"

// swanctl is a charon's configuration with the connection t; conn are the keys of the connection, children its children.
func swanctl(conn, children, secrets string) string {
	return fmt.Sprintf(`connections { t {
version = 2
local_addrs = %s
remote_addrs = %s
encap = yes
%s
children {
%s
} } }
secrets {
%s
}
`, lab.PairB4, lab.PairA4, conn, children, secrets)
}

// swanctlPSK authenticates both sides by the secret.
func swanctlPSK(conn, children string) string {
	return swanctl(conn+`
local { auth = psk
id = b.example }
remote { auth = psk
id = a.example }`, children, `ike-t { secret = "`+secret+`" }`)
}

// oursPSK are the same in our words.
const oursPSK = "local_id: a.example\nremote_id: b.example\npsk: " + secret + "\n"

// oneChild is a child with the two sites' networks.
func oneChild(esp string) (charon, ours string) {
	return fmt.Sprintf("peer { local_ts = 10.2.0.0/16\nremote_ts = 10.1.0.0/16\nesp_proposals = %s }", esp),
		fmt.Sprintf("esp_proposals: %q\nchild: {local_ts: [10.1.0.0/16], remote_ts: [10.2.0.0/16]}\n", esp)
}

// sas are the SAs of the tunnel peer that `warren sas` shows to programs.
func (s *swan) sas() (children []warren.ChildStatus) {
	s.t.Helper()
	var all []struct {
		Tunnel   string
		IKE      []warren.IKEStatus
		Children []warren.ChildStatus
	}
	s.must(json.Unmarshal([]byte(s.warrenSays("sas", "peer", "--json")), &all))
	if len(all) != 1 || all[0].Tunnel != "peer" {
		s.t.Fatalf("%+v", all)
	}
	return all[0].Children
}

// established are the IKE SAs that are up.
func established(t *warren.TunnelStatus) (all []warren.IKEStatus) {
	for _, i := range t.IKE {
		if i.State == "ESTABLISHED" {
			all = append(all, i)
		}
	}
	return all
}
