package kernel

import (
	"bufio"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// childNamespace has the test's program protect prefixes in the namespace until it is killed.
const childNamespace = "KRT_TEST_PROTECT_IN"

var secret = []netip.Prefix{netip.MustParsePrefix("10.8.0.0/16"), netip.MustParsePrefix("2001:db8:5ec::/48"),
	netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}

const (
	closed4  = "unreachable 10.8.0.0/16 metric 4294967295"
	closed6  = "unreachable 2001:db8:5ec::/48 dev lo metric 4294967295"
	closed40 = "unreachable default metric 4294967295"
	closed60 = "unreachable default dev lo metric 4294967295"
)

func protectForever(namespace string) {
	table, err := New(Config{Namespace: namespace})
	if err == nil {
		err = table.Protect(secret...)
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("protected")
	select {}
}

func TestProtectSurvivesKill(t *testing.T) {
	ns := namespace(t)
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childNamespace+"="+ns)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(out).ReadString('\n')
	if line != "protected\n" {
		t.Errorf("the child says %q", line)
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait()
	expect(t, ns, closed4, closed6, closed40, closed60)
	dead(t, ns, "10.8.1.1", true)
	dead(t, ns, "2001:db8:5ec::1", true)

	table, stop := start(t, Config{Namespace: ns})
	if err := table.Protect(secret[:3]...); err != nil {
		t.Fatal(err)
	}
	if s := table.Stats(); s.Written != 0 || s.Standing != 4 {
		t.Errorf("stats %+v, want all adopted and nothing written", s)
	}
	table.Settled()
	expect(t, ns, closed4, closed6, closed40)

	// Any other route wins, ours too, and the protection is there when it goes.
	set(t, table, "10.8.0.0/16", over("da")...)
	ip(t, ns, "route add 2001:db8:5ec::/48 dev db metric 4294967294")
	expect(t, ns, closed4, closed6, closed40, "10.8.0.0/16 dev da")
	stands(t, table, 4)
	dead(t, ns, "10.8.1.1", false)
	dead(t, ns, "2001:db8:5ec::1", false)
	stop()
	ip(t, ns, "link set db down")
	expect(t, ns, closed4, closed6, closed40)
	dead(t, ns, "10.8.1.1", true)
	dead(t, ns, "2001:db8:5ec::1", true)

	last, err := New(Config{Namespace: ns})
	if err != nil {
		t.Fatal(err)
	}
	defer last.Close()
	if err := last.Unprotect(secret...); err != nil {
		t.Fatal(err)
	}
	expect(t, ns)
}

// dead asks the kernel where it would send.
func dead(t *testing.T, ns, destination string, want bool) {
	t.Helper()
	out, _ := exec.Command("ip", "-n", ns, "route", "get", destination).CombinedOutput()
	if got := strings.Contains(string(out), "No route to host"); got != want {
		t.Errorf("%s is unreachable: %v, want %v (%s)", destination, got, want, out)
	}
}

func TestProtectionIsRepaired(t *testing.T) {
	ns := namespace(t)
	ip(t, ns, "link set lo down")
	table, _ := start(t, Config{Namespace: ns})
	if err := table.Protect(secret[:2]...); err != nil {
		t.Fatal(err)
	}
	for _, edit := range []string{"route del 10.8.0.0/16", "route del 2001:db8:5ec::/48", "link set lo up", "link set lo down",
		"route replace blackhole 10.8.0.0/16 metric 4294967295"} {
		ip(t, ns, "%s", edit)
		expect(t, ns, closed4, closed6)
	}
	if err := table.Unprotect(secret[0]); err != nil {
		t.Fatal(err)
	}
	expect(t, ns, closed6)
}

func TestProtectSaysWhatFails(t *testing.T) {
	ns := namespace(t)
	ip(t, ns, "route add blackhole 10.8.0.0/16 metric 4294967295")
	table, _ := start(t, Config{Namespace: ns})
	err := table.Protect(secret[:2]...)
	if err == nil || !strings.Contains(err.Error(), "10.8.0.0/16") {
		t.Errorf("Protect: %v", err)
	}
	expect(t, ns, closed6)
	ip(t, ns, "route del blackhole 10.8.0.0/16")
	expect(t, ns, closed4, closed6)
}
