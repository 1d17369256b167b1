//go:build linux

package lab

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// packages says which Debian package has a program. Programs without a package are built by the install step.
var packages = map[string]string{
	"bird":           "bird2",
	"birdc":          "bird2",
	"charon-systemd": "charon-systemd",
	"ethtool":        "ethtool",
	"ip":             "iproute2",
	"iperf3":         "iperf3",
	"ping":           "iputils-ping",
	"scapy":          "python3-scapy and python3-cryptography", // a Python module, see find
	"swanctl":        "strongswan-swanctl",
	"tc":             "iproute2",
	"tcpdump":        "tcpdump",
	"tshark":         "tshark",
	"wg":             "wireguard-tools",
}

// ForTest makes a lab for one test, after [Require] of the programs it needs. The lab is closed with the test, or when the process
// is interrupted, and what it could not take away fails the test. An ordinary user's test is skipped.
func ForTest(t testing.TB, programs ...string) *Lab {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	Require(t, append(programs, "ip")...)
	l, err := New()
	if err != nil {
		t.Fatal(err)
	}
	forget := l.closeWhenInterrupted()
	t.Cleanup(func() {
		defer forget()
		if err := l.Close(); err != nil {
			t.Errorf("close the lab: %v", err)
		}
	})
	return l
}

// PairForTest is [ForTest] and [Lab.Pair].
func PairForTest(t testing.TB, programs ...string) (l *Lab, a, b *Host) {
	t.Helper()
	l = ForTest(t, programs...)
	a, b, err := l.Pair()
	if err != nil {
		t.Fatal(err)
	}
	return l, a, b
}

// Require says that a test needs programs. One that is missing fails the test for root, who could have installed it, and
// skips it for an ordinary user. "scapy" stands for Debian's python3 with that module.
func Require(t testing.TB, programs ...string) {
	t.Helper()
	for _, program := range programs {
		_, err := find(program)
		switch {
		case err == nil:
		case os.Geteuid() == 0:
			t.Fatal(err)
		default:
			t.Skip(err)
		}
	}
}

// Python is Debian's interpreter, the one that sees Debian's modules whatever else is first in PATH.
const Python = "/usr/bin/python3"

// Look is the path of a program: from the bin directory of this repository, where the install step puts what it builds, from
// PATH, or from the directories of system programs that an ordinary user's PATH lacks. The error names what to install.
func Look(program string) (string, error) {
	if filepath.IsAbs(program) {
		return exec.LookPath(program)
	}
	if root, err := repository(); err == nil {
		// First what the install step built: it is the version that go.mod names.
		if path, err := exec.LookPath(filepath.Join(root, "bin", program)); err == nil {
			return path, nil
		}
	}
	for _, name := range []string{program, "/usr/sbin/" + program, "/sbin/" + program} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", missing(program)
}

func find(program string) (string, error) {
	if program != "scapy" {
		return Look(program)
	}
	if err := exec.Command(Python, "-c", "import scapy.layers.ipsec, cryptography").Run(); err != nil {
		return "", missing(program)
	}
	return Python, nil
}

func missing(program string) error {
	if pkg := packages[program]; pkg != "" {
		return fmt.Errorf("program %q is missing: install the Debian package %s, or run bench/install-peers.sh as root", program, pkg)
	}
	return fmt.Errorf("program %q is missing: run bench/install-peers.sh", program)
}

// mustLook leaves a program that is not found to exec, whose error then names it.
func mustLook(program string) string {
	if path, err := Look(program); err == nil {
		return path
	}
	return program
}

// repository is the directory of this module's go.mod, from the working directory upwards.
func repository() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", fmt.Errorf("no go.mod above the working directory")
		}
		dir = up
	}
}
