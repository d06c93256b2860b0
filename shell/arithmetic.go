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

// assigning are the operators that assign, and what each computes.
var assigning = map[syntax.BinAritOperator]syntax.BinAritOperator{
	syntax.Assgn: 0, syntax.AddAssgn: syntax.Add, syntax.SubAssgn: syntax.Sub, syntax.MulAssgn: syntax.Mul, syntax.QuoAssgn: syntax.Quo,
	syntax.RemAssgn: syntax.Rem, syntax.AndAssgn: syntax.And, syntax.OrAssgn: syntax.Or, syntax.XorAssgn: syntax.Xor,
	syntax.ShlAssgn: syntax.Shl, syntax.ShrAssgn: syntax.Shr,
}

// element has ((a[i] += e)) and its like done by an assignment: { a[i]=$((a[i] + e)); ((a[i])); }. The interpreter knows no
// elements in expressions that assign.
func (w *rewriter) element(st *syntax.Stmt) {
	var x syntax.ArithmExpr
	switch c := st.Cmd.(type) {
	case *syntax.ArithmCmd:
		x = c.X
	case *syntax.LetClause:
		if w.unquote(c.Exprs); len(c.Exprs) == 1 {
			x = c.Exprs[0]
		}
	}
	var target, value, result syntax.ArithmExpr
	switch e := x.(type) {
	case *syntax.UnaryArithm:
		op, back := syntax.Add, syntax.Sub
		if e.Op == syntax.Dec {
			op, back = back, op
		}
		target = e.X
		value, result = &syntax.BinaryArithm{Op: op, X: target, Y: literal("1")}, target
		if e.Op != syntax.Inc && e.Op != syntax.Dec {
			return
		} else if e.Post {
			result = &syntax.BinaryArithm{Op: back, X: target, Y: literal("1")}
		}
	case *syntax.BinaryArithm:
		op, ok := assigning[e.Op]
		if !ok {
			return
		}
		target, value, result = e.X, e.Y, e.X
		if op != 0 {
			value = &syntax.BinaryArithm{Op: op, X: target, Y: &syntax.ParenArithm{X: e.Y}}
		}
	}
	word, ok := target.(*syntax.Word)
	if !ok || len(word.Parts) != 1 {
		return
	}
	el, ok := word.Parts[0].(*syntax.ParamExp)
	if !ok || !el.Short || el.Index == nil || changes(el.Index) {
		return
	}
	w.changed = true
	st.Cmd = &syntax.Block{Stmts: []*syntax.Stmt{
		{Cmd: &syntax.CallExpr{Assigns: []*syntax.Assign{{
			Name: el.Param, Index: el.Index, Value: &syntax.Word{Parts: []syntax.WordPart{&syntax.ArithmExp{X: value}}},
		}}}},
		{Cmd: &syntax.ArithmCmd{X: result}},
	}}
}

// changes tells whether an expression assigns, so that it must be evaluated once.
func changes(e syntax.ArithmExpr) (yes bool) {
	syntax.Walk(e, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.UnaryArithm:
			yes = yes || n.Op == syntax.Inc || n.Op == syntax.Dec
		case *syntax.BinaryArithm:
			_, assigns := assigning[n.Op]
			yes = yes || assigns
		case *syntax.CmdSubst:
			yes = true
		}
		return true
	})
	return yes
}

// assignments refuses what is assigned to in an expression and is no variable: the interpreter would panic.
func (w *rewriter) assignments(n syntax.Node) {
	end := &syntax.Word{Parts: []syntax.WordPart{&syntax.ParamExp{
		Param: &syntax.Lit{Value: varArithmetic},
		Exp:   &syntax.Expansion{Op: syntax.ErrorUnset, Word: quoted("an element of an array is assigned to by a command of its own, a[i]=… or ((a[i]++))")},
	}}}
	plain := func(x syntax.ArithmExpr) bool {
		word, ok := x.(*syntax.Word)
		return ok && syntax.ValidName(word.Lit())
	}
	switch n := n.(type) {
	case *syntax.UnaryArithm:
		if (n.Op == syntax.Inc || n.Op == syntax.Dec) && !plain(n.X) {
			n.Op, n.Post, n.X, w.changed = syntax.Plus, false, end, true
		}
	case *syntax.BinaryArithm:
		if _, ok := assigning[n.Op]; ok && !plain(n.X) {
			n.Op, n.X, n.Y, w.changed = syntax.Comma, end, literal("0"), true
		}
	}
}
