"""Check that tidied Verilog loses only what means nothing."""

from gossamer.rtl.tidy import tidy

TRIGGER = "\\$auto$verilog_backend.cc:2355:dump_module$1 "


def module(*lines: str) -> str:
    return "\n".join(["module m(a, clk, q);", *(f"  {line}" for line in lines), "endmodule", ""])


def test_triggers_stay_only_where_nothing_is_read() -> None:
    reads = ["always @* begin", f"  if ({TRIGGER}) begin end", "  \\$2  = a;", "end"]
    constant = ["always @* begin", f"  if ({TRIGGER}) begin end", "  \\$3  = 8'hff;", "end"]
    declared = f"reg {TRIGGER} = 0;"
    assert "auto" not in tidy(module(declared, "input a;", "reg \\$2 ;", *reads))
    kept = tidy(module(declared, "input a;", "reg \\$2 ;", "reg [7:0] \\$3 ;", *reads, *constant))
    assert kept.count(TRIGGER) == 2, "the declaration and the block of constants"
    assert "_2 = a;" in kept
    assert "_3 = 8'hff;" in kept


def test_condition_and_selector_count_as_reads() -> None:
    for line in ("if (a) begin", "casez (a)"):
        block = ["always @* begin", f"  if ({TRIGGER}) begin end", "  \\$2  = 1'h0;", f"  {line}", "  end", "end"]
        assert "auto" not in tidy(module(f"reg {TRIGGER} = 0;", "input a;", "reg \\$2 ;", *block))


def test_unused_wires_go_with_what_drives_them() -> None:
    text = tidy(module(
        "input a;", "wire a;", "output q;", "wire q;", "wire b;", "wire [3:0] \\c$1 ;", "wire d;",
        "wire [-1:0] \\$signal ;",
        "part p (", "  .b(a),", "  .o(d)", ");", "assign b = \\c$1 [0];", "assign \\c$1  = { a, a, a, a };",
        "assign q = a;",
    ))  # fmt: skip
    for gone in ("wire b", "c_1", "c$1", "signal", "assign b"):
        assert gone not in text
    for kept in ("  input a;", "  output q;", "  wire d;", "assign q = a;", ".b(a)"):
        assert kept in text


def test_memories_lose_zeros_and_keep_values() -> None:
    zeros = ["initial begin", "  words[0] = 8'h00;", "  words[1] = 8'h00;", "end"]
    assert "initial" not in tidy(module("reg [7:0] words [1:0];", *zeros))
    values = ["initial begin", "  words[0] = 8'h00;", "  words[1] = 8'h07;", "end"]
    text = tidy(module("reg [7:0] words [1:0];", *values))
    assert "words[0] = 8'h00;" in text
    assert "words[1] = 8'h07;" in text


def test_names_are_made_plain_unless_taken() -> None:
    lines = ["output q;", "reg q = 1'h0;", "input a;", "reg \\$1 ;", "wire \\a$2 ;"]
    process = [
        "always @(posedge clk)",
        "  q <= \\$1 ;",
        "assign \\a$2  = a;",
        "always @* begin",
        "  \\$1  = \\a$2 ;",
        "end",
    ]
    text = tidy(module(*lines, *process))
    assert "output reg q = 1'h0;" in text
    assert "q <= q_next;" in text
    assert "q_next = a_2;" in text
    taken = tidy(module(*lines, "wire q_next;", "wire a_2;", "part p (", "  .o(q_next),", "  .r(a_2)", ");", *process))
    assert "q <= _1;" in taken
    assert "_1 = \\a$2 ;" in taken
