package shell

import (
	"strconv"

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
