package kernel

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Priorities of our rules, right before the main table's own.
const (
	mainPriority  = 32764
	tablePriority = 32765
)

// PolicyRouting makes packets follow a table of ours although the main table has a default route, as wg-quick(8) does with two
// rules for each family: packets for which the main table has a better route than a default route follow that one; of the others,
// those without the mark follow our table. Those with the mark, such as our own sealed packets, see only the main table.
type PolicyRouting struct {
	// Namespace is a name as `ip netns` shows it, or a path; empty is the process's own.
	Namespace string
	// Mark is that of packets which do not go by the table.
	Mark uint32
	// TableID is our table's.
	TableID uint32
	// Protocol marks the rules as ours; 0 is DefaultProtocol. All rules of the namespace that bear it are taken for ours.
	Protocol uint8
}

// Install makes the rules stand, and removes others of ours that an earlier process has left. Rules that stand already stay, so
// that no packet finds none.
func (p PolicyRouting) Install() error {
	return p.each(func(h *netlink.Handle, family int, found []netlink.Rule) error {
		wanted := p.rules(family)
		for i := range wanted {
			if err := h.RuleAdd(&wanted[i]); err != nil && !errors.Is(err, unix.EEXIST) {
				return fmt.Errorf("add rule of priority %d: %w", wanted[i].Priority, err)
			}
		}
		for i := range found {
			if !same(found[i], wanted[0]) && !same(found[i], wanted[1]) {
				if err := remove(h, &found[i]); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// Remove takes all rules of ours away.
func (p PolicyRouting) Remove() error {
	return p.each(func(h *netlink.Handle, _ int, found []netlink.Rule) (err error) {
		for i := range found {
			err = errors.Join(err, remove(h, &found[i]))
		}
		return err
	})
}

func remove(h *netlink.Handle, rule *netlink.Rule) error {
	if err := h.RuleDel(rule); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove rule of priority %d: %w", rule.Priority, err)
	}
	return nil
}

// each calls f for each family that the namespace has, with the rules of ours in it.
func (p PolicyRouting) each(f func(h *netlink.Handle, family int, found []netlink.Rule) error) error {
	err := within(p.Namespace, func() error {
		h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return fmt.Errorf("open netlink: %w", err)
		}
		defer h.Close()
		for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
			all, err := h.RuleList(family)
			if family == unix.AF_INET6 && (errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP)) {
				continue
			}
			if err != nil {
				return fmt.Errorf("list rules: %w", err)
			}
			var found []netlink.Rule
			for _, r := range all {
				if r.Family = family; r.Protocol == or(p.Protocol, DefaultProtocol) {
					found = append(found, r)
				}
			}
			if err := f(h, family, found); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("policy routing: %w", err)
	}
	return nil
}

// rules are ours of one family.
func (p PolicyRouting) rules(family int) [2]netlink.Rule {
	main, table := *netlink.NewRule(), *netlink.NewRule()
	main.Priority, main.Table, main.SuppressPrefixlen = mainPriority, unix.RT_TABLE_MAIN, 0
	table.Priority, table.Table, table.Mark, table.Invert = tablePriority, int(p.TableID), p.Mark, true
	for _, r := range []*netlink.Rule{&main, &table} {
		r.Family, r.Protocol = family, or(p.Protocol, DefaultProtocol)
	}
	return [2]netlink.Rule{main, table}
}

func same(a, b netlink.Rule) bool {
	return a.Priority == b.Priority && a.Table == b.Table && a.Mark == b.Mark && a.Invert == b.Invert && a.SuppressPrefixlen == b.SuppressPrefixlen
}

// StrictReversePath names the devices that refuse what comes from where they would not send to (sysctl
// net.ipv4.conf.*.rp_filter = 1): answers to our sealed packets, since they bear no mark.
func (p PolicyRouting) StrictReversePath() (devices []string, err error) {
	const conf = "/proc/sys/net/ipv4/conf"
	value := func(device string) string {
		b, err := os.ReadFile(filepath.Join(conf, device, "rp_filter"))
		if err != nil {
			return "" // the device is gone
		}
		return strings.TrimSpace(string(b))
	}
	err = within(p.Namespace, func() error {
		entries, err := os.ReadDir(conf)
		all := value("all")
		for _, e := range entries {
			one := value(e.Name())
			switch name := e.Name(); {
			case name == "all" || name == "default" || name == "lo":
			case max(all, one) == "1": // the greater of the two counts
				devices = append(devices, name)
			}
		}
		return err
	})
	return devices, err
}
