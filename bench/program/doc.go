// Package program is what the programs below bench/cmd share, and nothing that one of them measures: how they run and end, where
// they find the warren that they measure, and how they say on what machine it was.
package program
