package quick

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
)

// ErrLine is the error of a value that no line of a file can have.
var ErrLine = errors.New("a value that is empty, of several lines or has white space around it")

// Write prints the file that says what c says, with its secrets, in the form of "wg showconf" and with wg-quick's settings
// where c has them. Parse of what it printed gives an equal Config but for the lines of Ignored. A value that does not fit in
// a line (which Parse never makes) is an error that wraps ErrLine, and nothing is written.
func (c *Config) Write(w io.Writer) error {
	var b builder
	c.Interface.write(&b)
	for i := range c.Peers {
		c.Peers[i].write(&b)
	}
	if b.err != nil {
		return b.err
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("write a WireGuard configuration: %w", err)
	}
	return nil
}

func (i *Interface) write(b *builder) {
	b.WriteString("[Interface]\n")
	for _, a := range i.Addresses {
		set(b, "Address", a.String())
	}
	if dns := append(addresses(i.DNS), i.Search...); len(dns) > 0 {
		set(b, "DNS", strings.Join(dns, ", "))
	}
	if i.MTU != 0 {
		set(b, "MTU", strconv.Itoa(i.MTU))
	}
	if i.Table != "" {
		set(b, "Table", i.Table)
	}
	if i.SaveConfig {
		set(b, "SaveConfig", "true")
	}
	for _, h := range []struct {
		key      string
		commands []string
	}{{"PreUp", i.PreUp}, {"PostUp", i.PostUp}, {"PreDown", i.PreDown}, {"PostDown", i.PostDown}} {
		for _, command := range h.commands {
			set(b, h.key, command)
		}
	}
	if i.ListenPort != 0 {
		set(b, "ListenPort", strconv.Itoa(int(i.ListenPort)))
	}
	if i.FwMark != 0 {
		set(b, "FwMark", fmt.Sprintf("%#x", i.FwMark))
	}
	if !i.PrivateKey.IsZero() {
		set(b, "PrivateKey", i.PrivateKey.Base64())
	}
}

func (p *Peer) write(b *builder) {
	b.WriteString("\n[Peer]\n")
	set(b, "PublicKey", p.PublicKey.String())
	if !p.PresharedKey.IsZero() {
		set(b, "PresharedKey", p.PresharedKey.Base64())
	}
	if len(p.AllowedIPs) > 0 {
		set(b, "AllowedIPs", strings.Join(prefixes(p.AllowedIPs), ", "))
	}
	if !p.Endpoint.IsZero() {
		set(b, "Endpoint", p.Endpoint.String())
	}
	if p.PersistentKeepalive != 0 {
		set(b, "PersistentKeepalive", strconv.Itoa(int(p.PersistentKeepalive)))
	}
}

// builder collects a file, and the first thing that cannot stand in one.
type builder struct {
	strings.Builder
	err error
}

func set(b *builder, key, value string) {
	if b.err == nil && (strings.ContainsAny(value, "\n\x00") || strings.TrimSpace(value) != value || value == "") {
		b.err = fmt.Errorf("write %s: %w", key, ErrLine)
	}
	fmt.Fprintf(b, "%s = %s\n", key, value)
}

func addresses(of []netip.Addr) []string {
	out := make([]string, len(of))
	for i, a := range of {
		out[i] = a.String()
	}
	return out
}

func prefixes(of []netip.Prefix) []string {
	out := make([]string, len(of))
	for i, p := range of {
		out[i] = p.String()
	}
	return out
}
