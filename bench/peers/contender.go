//go:build linux

package peers

import (
	"context"
	"debug/buildinfo"
	"fmt"
	"strings"

	"github.com/warrenvpn/warren/bench/lab"
)

// Inner addresses: what the traffic goes between. The nets around them are routed through the tunnel.
const (
	innerA, innerB = "10.1.0.1", "10.2.0.1"
	netA, netB     = "10.1.0.0/16", "10.2.0.0/16"
)

// A Contender joins two hosts by a tunnel of its own kind.
type Contender interface {
	// Name is how the table calls it.
	Name() string
	// Version of the program that takes part.
	Version(ctx context.Context) (string, error)
	// Up joins the hosts of a fresh network, so that innerA reaches innerB, and names the interface on a that its packets
	// enter. What it starts belongs to the network's lab and ends with it.
	Up(ctx context.Context, n *Network) (device string, err error)
}

// Network is the pair of hosts that one contender has for itself for one round.
type Network struct {
	*lab.Lab
	A, B *lab.Host // joined by a veth; see [lab.Lab.Pair]
}

// newNetwork makes a network; its lab is to be closed.
func newNetwork() (*Network, error) {
	l, err := lab.New()
	if err != nil {
		return nil, err
	}
	n := &Network{Lab: l}
	if n.A, n.B, err = l.Pair(); err != nil {
		l.Close()
		return nil, err
	}
	return n, nil
}

// Contenders returns the known contenders of the given names, in that order.
func Contenders(names []string, warrenProgram string) ([]Contender, error) {
	ours := warren{program: warrenProgram}
	known := []Contender{wireGuardGo{}, strongSwan{}, ours, warrenWireGuard{warren: ours}, warrenWireGuard{warren: ours, facing: true}}
	var chosen []Contender
	for _, name := range names {
		found := false
		for _, c := range known {
			if c.Name() == name {
				chosen, found = append(chosen, c), true
			}
		}
		if !found {
			var all []string
			for _, c := range known {
				all = append(all, c.Name())
			}
			return nil, fmt.Errorf("no contender is called %q; there are: %s", name, strings.Join(all, ", "))
		}
	}
	return chosen, nil
}

// goVersion is the version of the main module that a Go program was built from, and its revision where it was recorded.
func goVersion(path string) (string, error) {
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read the version of %s: %w", path, err)
	}
	version := []string{info.Main.Version}
	if info.Main.Version == "" { // a main package of a dependency, or built without a version
		version[0] = "(devel)"
	}
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" {
			version = append(version, setting.Value)
		}
	}
	return strings.Join(append(version, info.GoVersion), " "), nil
}
