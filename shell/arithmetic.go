package shell

import (
	"strconv"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// divisors has each divisor of an expression looked at before it is used. With one of 0 the interpreter goes on as if the whole command had not
// been there; a parameter that is not set, with a message, ends the line, the subshell or the script, as it does in POSIX. Commands as ((…))
// have a status of their own, 1.
func (w *rewriter) divisors(e syntax.ArithmExpr) {
	switch e := e.(type) {
	case *syntax.ParenArithm:
		w.divisors(e.X)
	case *syntax.UnaryArithm:
		w.divisors(e.X)
	case *syntax.BinaryArithm:
		w.divisors(e.X)
		w.divisors(e.Y)
		switch e.Op {
		case syntax.Quo, syntax.Rem, syntax.QuoAssgn, syntax.RemAssgn:
			if by, ok := e.Y.(*syntax.Word); ok {
				if n, err := strconv.Atoi(by.Lit()); err == nil && n != 0 {
					return
				}
			}
			e.Y = divisor(e.Y)
			w.changed = true
		}
	}
}

// divisor is e, evaluated once, or the end of the line.
func divisor(e syntax.ArithmExpr) syntax.ArithmExpr {
	end := &syntax.Word{Parts: []syntax.WordPart{&syntax.ParamExp{
		Param: &syntax.Lit{Value: varArithmetic},
		Exp:   &syntax.Expansion{Op: syntax.ErrorUnset, Word: literal("division by 0")},
	}}}
	return &syntax.ParenArithm{X: &syntax.BinaryArithm{
		Op: syntax.Comma,
		X:  &syntax.BinaryArithm{Op: syntax.Assgn, X: literal(varDivisor), Y: e},
		Y: &syntax.BinaryArithm{
			Op: syntax.TernQuest,
			X:  literal(varDivisor),
			Y:  &syntax.BinaryArithm{Op: syntax.TernColon, X: literal(varDivisor), Y: end},
		},
	}}
}

// unquote makes expressions of let's arguments in quotes, which the interpreter takes for the name of a variable.
func (w *rewriter) unquote(list []syntax.ArithmExpr) {
	for i, e := range list {
		word, ok := e.(*syntax.Word)
		if !ok || len(word.Parts) != 1 {
			continue
		}
		switch word.Parts[0].(type) {
		case *syntax.SglQuoted, *syntax.DblQuoted:
		default:
			continue
		}
		var b strings.Builder
		if syntax.NewPrinter().Print(&b, word) != nil || strings.Contains(b.String(), `\`) {
			continue
		}
		if x, err := syntax.NewParser().Arithmetic(strings.NewReader(strings.Trim(b.String(), `$'"`))); err == nil && x != nil {
			list[i], w.changed = x, true
		}
	}
}
