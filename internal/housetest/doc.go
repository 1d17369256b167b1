// Package housetest holds tests of the whole tree and no code: which package may import which, that each package says what
// it is for, and that no file promises something for later or names a path of somebody's machine.
//
// Reading order: arrows_test.go (the table of imports, and the rules that read it), texts_test.go, tree_test.go.
//
// The rules are data with their exceptions beside them. Whoever needs another import changes the table, in the same commit,
// so that it shows in review.
package housetest
