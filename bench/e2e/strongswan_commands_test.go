//go:build linux

package e2e

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestStrongSwanCommands: what a user sees of a tunnel and does to it, and how tunnels begin and stay up.
func TestStrongSwanCommands(t *testing.T) {
	s := newSwan(t)
	s.run("commands", (*swan).commands)
	s.run("start", func(s *swan) {
		charon, child := oneChild("aes128gcm16")
		s.load(swanctlPSK("", charon))
		s.startConfig(strings.Replace(s.config(oursPSK+child), "start_action: none", "start_action: start", 1))
		s.awaitUp("peer", 1)
		// Charon ends what it did not begin: a close_action says whether it comes back.
		_, err := s.charon.Ctl(s.ctx, "--terminate", "--child", "peer")
		s.must(err)
		s.eventually("the end of the child", func() error {
			if t, err := s.tunnel("peer"); err != nil || t.State == "up" {
				return fmt.Errorf("%s %v", t.State, err)
			}
			return nil
		})
	})
	s.run("close-action-start", func(s *swan) {
		charon, child := oneChild("aes128gcm16")
		s.load(swanctlPSK("", charon))
		s.startConfig(strings.Replace(s.config(oursPSK+child), "start_action: none", "start_action: start\n      close_action: start", 1))
		before := s.awaitUp("peer", 1).Children[0].SPIIn
		_, err := s.charon.Ctl(s.ctx, "--terminate", "--child", "peer")
		s.must(err)
		s.eventually("another child", func() error {
			if t, err := s.tunnel("peer"); err != nil || len(t.Children) != 1 || t.Children[0].SPIIn == before {
				return fmt.Errorf("%+v %v", t, err)
			}
			return nil
		})
	})
	for _, action := range []string{"trap", "trap|start"} {
		s.run(action, func(s *swan) { s.trapped(action) })
	}
	s.run("keep-up", func(s *swan) {
		charon, child := oneChild("aes128gcm16")
		s.load(swanctlPSK("", charon))
		s.startConfig(strings.Replace(s.config(oursPSK+child), "start_action: none", "start_action: trap\n      keep_up: 500ms", 1))
		s.awaitUp("peer", 1) // though nobody sends anything
		s.eventually("packets that keep it up, and their answers", func() error {
			if sas := s.sas(); sas[0].OutPackets < 3 || sas[0].InPackets < 2 {
				return fmt.Errorf("%+v", sas)
			}
			return nil
		})
	})
}

// trapped: the first packets bring the tunnel up and are delivered, each time that it is down.
func (s *swan) trapped(action string) {
	charon, child := oneChild("aes128gcm16")
	s.load(swanctlPSK("", charon))
	s.startConfig(strings.Replace(s.config(oursPSK+child), "start_action: none", "start_action: "+action, 1))
	if action == "trap|start" {
		s.awaitUp("peer", 1)
		s.warrenSays("down", "peer")
	}
	for range 3 {
		s.awaitDown("peer")
		const packets = 5
		r, err := s.inside.Ping(s.ctx, "10.2.0.1", packets, "-I", "10.1.0.1", "-W", "5")
		s.must(err)
		s.awaitUp("peer", 1)
		if r.Received != packets { // charon may have lost what it has opened, see pings
			s.eventually("charon to have opened the first packets", func() error {
				sas, err := s.charon.Ctl(s.ctx, "--list-sas")
				for _, m := range charonCounts.FindAllStringSubmatch(sas, -1) {
					if n, _ := strconv.Atoi(m[2]); m[1] == "in" && n >= packets {
						return err
					}
				}
				return errors.Join(err, fmt.Errorf("%s %s", r.Output, sas))
			})
		}
		s.warrenSays("down", "peer")
	}
}

func (s *swan) commands() {
	charon, child := oneChild("aes128gcm16-noesn")
	s.load(swanctlPSK("proposals = aes256gcm16-prfsha384-ecp384", strings.Replace(charon, "-noesn", "", 1)))
	s.start(oursPSK + "proposals: aes256gcm16-prfsha384-ecp384\n" + child)
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"up", "nobody"}, `there is no tunnel "nobody"`},
		{[]string{"up", "peer", "--child", "nobody"}, `no child "nobody"`},
		{[]string{"rekey", "nobody"}, `there is no tunnel "nobody"`},
		{[]string{"down", "peer", "--child", "nobody"}, `no child "nobody"`},
	} {
		out, err := exec.CommandContext(s.ctx, s.program, append(c.args, "--socket", filepath.Join(s.dir, "w.sock"))...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), c.want) {
			s.t.Errorf("warren %v: %v, want %q in %s", c.args, err, c.want, out)
		}
	}
	s.shows("tunnels", "down (no SA)")
	s.warrenSays("up", "peer")
	t := s.awaitUp("peer", 1)
	if s.pings("10.1.0.1", "10.2.0.1") {
		s.shows("sas", "6 pkts 504 B")
	}
	s.shows("tunnels", "peer", "up", "192.0.2.2:4500", "udp")
	s.shows("sas", "ESTABLISHED", "a.example @ 192.0.2.1:4500*", "b.example @ 192.0.2.2:4500", "aes256gcm16-prfsha384-ecp384", t.IKE[0].SPIInitiator,
		"INSTALLED", "aes128gcm16", t.Children[0].SPIOut, "10.1.0.0/16", "10.2.0.0/16")
	sas, err := s.charon.Ctl(s.ctx, "--list-sas")
	s.must(err)
	for _, spi := range []string{t.IKE[0].SPIInitiator, t.IKE[0].SPIResponder, t.Children[0].SPIIn[2:], t.Children[0].SPIOut[2:]} {
		if !strings.Contains(sas, spi) {
			s.t.Errorf("charon has no SPI %s: %s", spi, sas)
		}
	}
	s.warrenSays("rekey", "peer", "--child", "peer")
	s.eventually("the old child to linger", func() error {
		if out := s.warrenSays("sas"); !containsAll(out, "INSTALLED", "DELETED", t.Children[0].SPIOut) {
			return errors.New(out)
		}
		return nil
	})
	s.warrenSays("down", "peer", "--child", "peer")
	s.eventually("no child on charon's side, and the IKE SA", func() error {
		sas, err := s.charon.Ctl(s.ctx, "--list-sas")
		if err != nil || strings.Contains(sas, "INSTALLED") || !strings.Contains(sas, "ESTABLISHED") {
			return fmt.Errorf("%v %s", err, sas)
		}
		return nil
	})
	s.warrenSays("down", "peer")
	s.awaitDown("peer")
}

// shows wants certain words in what the program says.
func (s *swan) shows(command string, words ...string) {
	s.t.Helper()
	if out := s.warrenSays(command); !containsAll(out, words...) {
		s.t.Errorf("warren %s: want %q in\n%s", command, words, out)
	}
}
