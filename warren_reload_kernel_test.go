package warren_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/warrenvpn/warren"
)

// TestApplyKernel: protection in the kernel, and what is told to it and learned from it, follow the configuration.
func TestApplyKernel(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("devices and routes need root")
	}
	netns := namespace(t)
	ip := func(args ...string) string {
		t.Helper()
		out, err := exec.Command("ip", append([]string{"-n", netns}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("ip %q: %v: %s", args, err, out)
		}
		return string(out)
	}
	ip("link", "add", "other0", "type", "veth", "peer", "name", "other1")
	ip("link", "set", "other1", "up")
	ip("link", "set", "other0", "up")
	ip("route", "add", "10.50.0.0/24", "dev", "other0")
	ip("route", "add", "10.51.0.0/24", "dev", "other0")
	s := &reloadSite{self: 1, peer: 2, head: "underlay: {addresses: [127.0.0.1]}\n", tunnels: map[string]string{"hand": byHand(1, 10)},
		vrf: "    port: {tun: wreload0, netns: " + netns + ", addresses: [10.1.0.1/24]}\n    kernel: {export: none, import: none}\n"}
	e := startReload(t, [2]*reloadSite{s, {self: 2, peer: 1, head: "underlay: {addresses: [192.0.2.2]}\n", tunnels: map[string]string{"hand": byHand(1, 10)},
		vrf: "    port: {netstack: {addresses: [10.2.1.1/24]}}\n"}})[0]
	refused := func() string { return ip("route", "show", "type", "unreachable") }
	shown := func(prefix string) string { return ip("route", "show", prefix) }
	if got := refused(); !strings.Contains(got, "10.2.1.0/24") {
		t.Fatalf("refused are %q", got)
	}

	s.tunnels["hand"] = strings.Replace(byHand(1, 10), "10.%[2]d.1.0/24", "10.%[2]d.8.0/24", 1)
	s.tunnels["ours"] = byHand(9, 20)
	s.vrf += "    protect: [10.99.0.0/16]\n"
	s.apply(t, e)
	for _, want := range []string{"10.2.8.0/24", "10.2.9.0/24", "10.99.0.0/16"} {
		if got := refused(); !strings.Contains(got, want) {
			t.Errorf("%s is not refused: %q", want, got)
		}
	}
	if got := refused(); strings.Contains(got, "10.2.1.0/24") {
		t.Errorf("what is not configured any more is refused: %q", got)
	}
	if got := shown("10.2.8.0/24"); strings.Contains(got, "wreload0") {
		t.Errorf("exported without a policy: %q", got)
	}

	s.vrf = strings.Replace(s.vrf, "{export: none, import: none}", `{export: all, import: [{prefixes: ["10.50.0.0/24"]}]}`, 1)
	s.apply(t, e)
	eventually(t, "the kernel is told", patience, func() bool { return strings.Contains(shown("10.2.8.0/24"), "wreload0") })
	eventually(t, "what the policy imports now is learned", patience, func() bool { _, source := leadsTo(e, "10.50.0.0/24"); return source == "kernel" })
	if via, _ := leadsTo(e, "10.51.0.0/24"); via != "" {
		t.Errorf("what the policy does not import leads to %s", via)
	}
	s.vrf = strings.Replace(s.vrf, "10.50.0.0/24", "10.51.0.0/24", 1)
	s.vrf = strings.Replace(s.vrf, "export: all", "export: none", 1)
	s.apply(t, e)
	eventually(t, "the kernel is told that it is no more", patience, func() bool { return !strings.Contains(shown("10.2.8.0/24"), "wreload0") })
	eventually(t, "what the policy imports now is learned", patience, func() bool { _, source := leadsTo(e, "10.51.0.0/24"); return source == "kernel" })
	if _, source := leadsTo(e, "10.50.0.0/24"); source != "" {
		t.Errorf("what the policy imports no more is from %q", source)
	}
	delete(s.tunnels, "ours")
	s.vrf = strings.Replace(s.vrf, "    protect: [10.99.0.0/16]\n", "", 1)
	s.apply(t, e)
	if got := strings.Fields(refused()); len(got) < 2 || strings.Contains(fmt.Sprint(got), "10.99") || strings.Contains(fmt.Sprint(got), "10.2.9.0") || !strings.Contains(fmt.Sprint(got), "10.2.8.0") {
		t.Errorf("refused are %q", got)
	}
}

// TestApplyKernelAgain: a kernel's table that cannot be opened is told by the next reload what it could not be told by this one.
func TestApplyKernelAgain(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("devices and routes need root")
	}
	netns := namespace(t)
	path, hidden := filepath.Join(t.TempDir(), "netns"), filepath.Join(t.TempDir(), "hidden")
	if err := os.Symlink("/run/netns/"+netns, path); err != nil {
		t.Fatal(err)
	}
	show := func(args ...string) string {
		t.Helper()
		out, err := exec.Command("ip", append([]string{"-n", netns, "route", "show"}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("ip route show %q: %v: %s", args, err, out)
		}
		return string(out)
	}
	unrouted := byHand(1, 10)
	unrouted = unrouted[:strings.Index(unrouted, "    routes:")]
	s := &reloadSite{self: 1, peer: 2, head: "underlay: {addresses: [192.0.2.1]}\n", tunnels: map[string]string{"hand": unrouted},
		vrf: "    port: {tun: wagain0, netns: " + path + ", addresses: [10.1.0.1/24]}\n"}
	e := startReload(t, [2]*reloadSite{s, {self: 2, peer: 1, head: "underlay: {addresses: [192.0.2.2]}\n", tunnels: map[string]string{"hand": unrouted},
		vrf: "    port: {netstack: {addresses: [10.2.1.1/24]}}\n"}})[0]
	if err := os.Rename(path, hidden); err != nil {
		t.Fatal(err)
	}
	s.tunnels["hand"] = byHand(1, 10)
	s.vrf += "    kernel: {export: all}\n"
	for range 2 {
		err := e.Apply(s.config(t))
		if !errors.Is(err, warren.ErrPartlyApplied) || !strings.Contains(err.Error(), "protect its prefixes") || strings.Count(err.Error(), path) != 2 {
			t.Errorf("with the namespace hidden: %v", err)
		}
		if got := show("10.2.1.0/24"); got != "" {
			t.Errorf("the kernel was told: %q", got)
		}
	}
	if err := os.Rename(hidden, path); err != nil {
		t.Fatal(err)
	}
	s.apply(t, e)
	if got := show("type", "unreachable"); !strings.Contains(got, "10.2.1.0/24") {
		t.Errorf("refused are %q", got)
	}
	eventually(t, "the kernel is told", patience, func() bool { return strings.Contains(show("10.2.1.0/24"), "wagain0") })
	s.tunnels["hand"] = unrouted
	s.apply(t, e)
	if got := show("type", "unreachable"); strings.Contains(got, "10.2.1.0/24") {
		t.Errorf("what is not configured any more is refused: %q", got)
	}
}
