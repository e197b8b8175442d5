// Behavioural model of the Versal DSP slice, written from AMD's architecture manual AM004. For simulation only:
// synthesis knows the real one.
//
// Covered: A and B with 0 to 2 registers, direct or from the cascade; INMODE; D and pre-adder; one product of 27 x 24
// (DSP_MODE INT24) or the sum of three of 9 x 8 (INT8); C, M and P registers; all inputs of W, X, Y, Z but the MAC
// extension; the four sums of ALUMODE; CARRYIN; all cascades of A, B and P; clock enables; synchronous resets; the sum
// of ALUMODE 0 in two halves (TWO24).
// Stops with $fatal at what is not: SIMD in quarters, logic functions, pattern detection, wide XOR, other carry inputs,
// inverted pins, multiplier and A:B together, negated products, asynchronous resets, the pre-adder in INT8.
module DSP58 #(
  parameter integer ACASCREG = 1,
  parameter integer ADREG = 1,
  parameter integer ALUMODEREG = 1,
  parameter AMULTSEL = "A",
  parameter integer AREG = 1,
  parameter AUTORESET_PATDET = "NO_RESET",
  parameter AUTORESET_PRIORITY = "RESET",
  parameter A_INPUT = "DIRECT",
  parameter integer BCASCREG = 1,
  parameter BMULTSEL = "B",
  parameter integer BREG = 1,
  parameter B_INPUT = "DIRECT",
  parameter integer CARRYINREG = 1,
  parameter integer CARRYINSELREG = 1,
  parameter integer CREG = 1,
  parameter integer DREG = 1,
  parameter DSP_MODE = "INT24",
  parameter integer INMODEREG = 1,
  parameter [3:0] IS_ALUMODE_INVERTED = 4'b0000,
  parameter [0:0] IS_ASYNC_RST_INVERTED = 1'b0,
  parameter [0:0] IS_CARRYIN_INVERTED = 1'b0,
  parameter [0:0] IS_CLK_INVERTED = 1'b0,
  parameter [4:0] IS_INMODE_INVERTED = 5'b00000,
  parameter [2:0] IS_NEGATE_INVERTED = 3'b000,
  parameter [8:0] IS_OPMODE_INVERTED = 9'b000000000,
  parameter [0:0] IS_RSTALLCARRYIN_INVERTED = 1'b0,
  parameter [0:0] IS_RSTALUMODE_INVERTED = 1'b0,
  parameter [0:0] IS_RSTA_INVERTED = 1'b0,
  parameter [0:0] IS_RSTB_INVERTED = 1'b0,
  parameter [0:0] IS_RSTCTRL_INVERTED = 1'b0,
  parameter [0:0] IS_RSTC_INVERTED = 1'b0,
  parameter [0:0] IS_RSTD_INVERTED = 1'b0,
  parameter [0:0] IS_RSTINMODE_INVERTED = 1'b0,
  parameter [0:0] IS_RSTM_INVERTED = 1'b0,
  parameter [0:0] IS_RSTP_INVERTED = 1'b0,
  parameter [57:0] MASK = 58'h0ffffffffffffff,
  parameter integer MREG = 1,
  parameter integer OPMODEREG = 1,
  parameter [57:0] PATTERN = 58'h0,
  parameter PREADDINSEL = "A",
  parameter integer PREG = 1,
  parameter RESET_MODE = "SYNC",
  parameter [57:0] RND = 58'h0,
  parameter SEL_MASK = "MASK",
  parameter SEL_PATTERN = "PATTERN",
  parameter USE_MULT = "MULTIPLY",
  parameter USE_PATTERN_DETECT = "NO_PATDET",
  parameter USE_SIMD = "ONE58",
  parameter USE_WIDEXOR = "FALSE",
  parameter XORSIMD = "XOR24_34_58_116"
) (
  output [33:0] ACOUT,
  output [23:0] BCOUT,
  output CARRYCASCOUT,
  output [3:0] CARRYOUT,
  output MULTSIGNOUT,
  output OVERFLOW,
  output [57:0] P,
  output PATTERNBDETECT,
  output PATTERNDETECT,
  output [57:0] PCOUT,
  output UNDERFLOW,
  output [7:0] XOROUT,
  input [33:0] A,
  input [33:0] ACIN,
  input [3:0] ALUMODE,
  input ASYNC_RST,
  input [23:0] B,
  input [23:0] BCIN,
  input [57:0] C,
  input CARRYCASCIN,
  input CARRYIN,
  input [2:0] CARRYINSEL,
  input CEA1,
  input CEA2,
  input CEAD,
  input CEALUMODE,
  input CEB1,
  input CEB2,
  input CEC,
  input CECARRYIN,
  input CECTRL,
  input CED,
  input CEINMODE,
  input CEM,
  input CEP,
  input CLK,
  input [26:0] D,
  input [4:0] INMODE,
  input MULTSIGNIN,
  input [2:0] NEGATE,
  input [8:0] OPMODE,
  input [57:0] PCIN,
  input RSTA,
  input RSTALLCARRYIN,
  input RSTALUMODE,
  input RSTB,
  input RSTC,
  input RSTCTRL,
  input RSTD,
  input RSTINMODE,
  input RSTM,
  input RSTP
);
  localparam INVERTED = |{IS_ALUMODE_INVERTED, IS_ASYNC_RST_INVERTED, IS_CARRYIN_INVERTED, IS_CLK_INVERTED,
    IS_INMODE_INVERTED, IS_NEGATE_INVERTED, IS_OPMODE_INVERTED, IS_RSTALLCARRYIN_INVERTED, IS_RSTALUMODE_INVERTED,
    IS_RSTA_INVERTED, IS_RSTB_INVERTED, IS_RSTCTRL_INVERTED, IS_RSTC_INVERTED, IS_RSTD_INVERTED,
    IS_RSTINMODE_INVERTED, IS_RSTM_INVERTED, IS_RSTP_INVERTED};

  initial begin
    if (AREG < 0 || AREG > 2 || BREG < 0 || BREG > 2)
      $fatal(1, "DSP58: AREG and BREG must be 0, 1 or 2, not %0d and %0d", AREG, BREG);
    if ((AREG == 2 ? ACASCREG < 1 || ACASCREG > 2 : ACASCREG != AREG)
        || (BREG == 2 ? BCASCREG < 1 || BCASCREG > 2 : BCASCREG != BREG))
      $fatal(1, "DSP58: ACASCREG and BCASCREG must equal AREG and BREG, or be 1 where those are 2");
    if (A_INPUT != "DIRECT" && A_INPUT != "CASCADE" || B_INPUT != "DIRECT" && B_INPUT != "CASCADE")
      $fatal(1, "DSP58: A_INPUT and B_INPUT must be DIRECT or CASCADE");
    if (AMULTSEL != "A" && AMULTSEL != "AD" || BMULTSEL != "B" && BMULTSEL != "AD")
      $fatal(1, "DSP58: AMULTSEL must be A or AD, BMULTSEL B or AD");
    if (PREADDINSEL != "A" && PREADDINSEL != "B") $fatal(1, "DSP58: PREADDINSEL must be A or B");
    if (USE_MULT != "MULTIPLY" && USE_MULT != "NONE") $fatal(1, "DSP58: this model has no USE_MULT of DYNAMIC");
    if (USE_SIMD == "TWO24" && USE_MULT != "NONE") $fatal(1, "DSP58: SIMD needs USE_MULT of NONE");
    if (USE_SIMD != "ONE58" && USE_SIMD != "TWO24" || USE_WIDEXOR != "FALSE" || USE_PATTERN_DETECT != "NO_PATDET")
      $fatal(1, "DSP58: this model has neither SIMD in quarters nor wide XOR nor pattern detection");
    if (INVERTED) $fatal(1, "DSP58: this model has no inverted pins");
    if (DSP_MODE != "INT24" && DSP_MODE != "INT8") $fatal(1, "DSP58: DSP_MODE must be INT24 or INT8");
    if (DSP_MODE == "INT8" && (AMULTSEL != "A" || BMULTSEL != "B"))
      $fatal(1, "DSP58: this model has no pre-adder in INT8");
    if (USE_MULT == "NONE" && MREG != 0) $fatal(1, "DSP58: USE_MULT of NONE needs MREG of 0");
    if (RESET_MODE != "SYNC") $fatal(1, "DSP58: this model has no asynchronous resets");
  end

  // Control, each with its own optional register.
  reg [4:0] inmode_register = 0;
  reg [8:0] opmode_register = 0;
  reg [3:0] alumode_register = 0;
  reg [2:0] carryinsel_register = 0;
  reg carryin_register = 0;
  wire [4:0] inmode = INMODEREG == 1 ? inmode_register : INMODE;
  wire [8:0] opmode = OPMODEREG == 1 ? opmode_register : OPMODE;
  wire [3:0] alumode = ALUMODEREG == 1 ? alumode_register : ALUMODE;
  wire [2:0] carryinsel = CARRYINSELREG == 1 ? carryinsel_register : CARRYINSEL;
  wire carryin = CARRYINREG == 1 ? carryin_register : CARRYIN;
  always @(posedge CLK) begin
    if (RSTINMODE) inmode_register <= 0; else if (CEINMODE) inmode_register <= INMODE;
    if (RSTCTRL) opmode_register <= 0; else if (CECTRL) opmode_register <= OPMODE;
    if (RSTALUMODE) alumode_register <= 0; else if (CEALUMODE) alumode_register <= ALUMODE;
    if (RSTCTRL) carryinsel_register <= 0; else if (CECTRL) carryinsel_register <= CARRYINSEL;
    if (RSTALLCARRYIN) carryin_register <= 0; else if (CECARRYIN) carryin_register <= CARRYIN;
  end

  // A and B: register 1 is in front of register 2 only if there are two. INMODE lets the multiplier see register 1
  // instead of 2; without registers that is 0.
  reg [33:0] a1 = 0, a2 = 0;
  reg [23:0] b1 = 0, b2 = 0;
  wire [33:0] a_in = A_INPUT == "CASCADE" ? ACIN : A;
  wire [23:0] b_in = B_INPUT == "CASCADE" ? BCIN : B;
  wire [33:0] a = AREG == 0 ? a_in : a2;
  wire [23:0] b = BREG == 0 ? b_in : b2;
  wire [33:0] a_operand = inmode[0] ? a1 : a;
  wire [23:0] b_operand = inmode[4] ? b1 : b;
  assign ACOUT = AREG == 2 && ACASCREG == 1 ? a1 : a;
  assign BCOUT = BREG == 2 && BCASCREG == 1 ? b1 : b;
  always @(posedge CLK) begin
    if (RSTA || AREG == 0) a1 <= 0; else if (CEA1) a1 <= a_in;
    if (RSTA) a2 <= 0; else if (CEA2) a2 <= AREG == 2 ? a1 : a_in;
    if (RSTB || BREG == 0) b1 <= 0; else if (CEB1) b1 <= b_in;
    if (RSTB) b2 <= 0; else if (CEB2) b2 <= BREG == 2 ? b1 : b_in;
  end

  // Pre-adder: D plus or minus A or B, each of which INMODE can make zero.
  reg [26:0] d_register = 0, ad_register = 0;
  wire [26:0] d = DREG == 1 ? d_register : D;
  wire [26:0] added = PREADDINSEL == "B" ? {{3{b_operand[23]}}, b_operand} : a_operand[26:0];
  wire [26:0] gated = inmode[1] ? 27'h0 : added;
  wire [26:0] d_gated = inmode[2] ? d : 27'h0;
  wire [26:0] ad_sum = inmode[3] ? d_gated - gated : d_gated + gated;
  wire [26:0] ad = ADREG == 1 ? ad_register : ad_sum;
  always @(posedge CLK) begin
    if (RSTD) d_register <= 0; else if (CED) d_register <= D;
    if (RSTD) ad_register <= 0; else if (CEAD) ad_register <= ad_sum;
  end

  // Multiplier: 27 x 24, or three of 9 x 8. INMODE[1] also makes the operand zero that does not go through the
  // pre-adder.
  wire [26:0] a_zeroed = PREADDINSEL == "A" && inmode[1] ? 27'h0 : a_operand[26:0];
  wire [23:0] b_zeroed = PREADDINSEL == "B" && inmode[1] ? 24'h0 : b_operand;
  wire signed [26:0] multiplicand = AMULTSEL == "AD" ? ad : a_zeroed;
  wire signed [23:0] multiplier = BMULTSEL == "AD" ? ad[23:0] : b_zeroed;
  wire signed [50:0] whole = multiplicand * multiplier;
  wire signed [50:0] low_third = $signed(multiplicand[8:0]) * $signed(multiplier[7:0]);
  wire signed [50:0] middle_third = $signed(multiplicand[17:9]) * $signed(multiplier[15:8]);
  wire signed [50:0] high_third = $signed(multiplicand[26:18]) * $signed(multiplier[23:16]);
  wire [50:0] product = DSP_MODE == "INT8" ? low_third + middle_third + high_third : whole;
  reg [50:0] m_register = 0;
  wire [50:0] m = MREG == 1 ? m_register : product;
  wire [57:0] m_extended = {{7{m[50]}}, m};
  always @(posedge CLK) if (RSTM) m_register <= 0; else if (CEM) m_register <= product;

  // Sum of W, X, Y, Z. M takes X and Y together: it arrives as two halves.
  reg [57:0] c_register = 0, p_register = 0;
  wire [57:0] c = CREG == 1 ? c_register : C;
  reg [57:0] w, x, y, z;
  always @(*) begin
    case (opmode[8:7])
      2'b00: w = 58'h0;
      2'b01: w = P;
      2'b10: w = RND;
      default: w = c;
    endcase
    case (opmode[1:0])
      2'b00: x = 58'h0;
      2'b01: x = m_extended;
      2'b10: x = P;
      default: x = {a, b};
    endcase
    case (opmode[3:2])
      2'b00: y = 58'h0;
      2'b01: y = 58'h0;
      2'b10: y = 58'h3ffffffffffffff;
      default: y = c;
    endcase
    case (opmode[6:4])
      3'b000: z = 58'h0;
      3'b001: z = PCIN;
      3'b010: z = P;
      3'b011: z = c;
      3'b101: z = {{23{PCIN[57]}}, PCIN[57:23]};
      3'b110: z = {{23{P[57]}}, P[57:23]};
      default: z = 58'h0;
    endcase
  end
  wire [57:0] others = w + x + y + {57'h0, carryin};
  wire [23:0] low_half = w[23:0] + x[23:0] + y[23:0] + z[23:0] + {23'h0, carryin};
  wire [23:0] high_half = w[47:24] + x[47:24] + y[47:24] + z[47:24];
  reg [57:0] sum;
  always @(*)
    if (USE_SIMD == "TWO24") sum = {10'h0, high_half, low_half};
    else case (alumode)
      4'b0000: sum = z + others;
      4'b0001: sum = ~z + others;
      4'b0010: sum = ~(z + others);
      default: sum = z - others;
    endcase
  always @(posedge CLK) begin
    if (RSTC) c_register <= 0; else if (CEC) c_register <= C;
    if (RSTP) p_register <= 0; else if (CEP) p_register <= sum;
    if (alumode[3:2] != 2'b00) $fatal(1, "DSP58: this model has no logic functions, ALUMODE is %b", alumode);
    if (USE_SIMD == "TWO24" && (alumode != 4'b0000 || carryin))
      $fatal(1, "DSP58: this model has only sums without carry in SIMD, ALUMODE is %b", alumode);
    if (opmode[6:4] == 3'b100) $fatal(1, "DSP58: this model has no MAC extension, OPMODE is %b", opmode);
    if (NEGATE != 3'b000) $fatal(1, "DSP58: this model negates no product, NEGATE is %b", NEGATE);
    if (ASYNC_RST) $fatal(1, "DSP58: this model has no asynchronous resets");
    if (carryinsel != 3'b000) $fatal(1, "DSP58: this model has no carry but CARRYIN, CARRYINSEL is %b", carryinsel);
    if ((opmode[1:0] == 2'b01) != (opmode[3:2] == 2'b01)) $fatal(1, "DSP58: M takes X and Y, OPMODE is %b", opmode);
    if (opmode[1:0] == 2'b01 && USE_MULT == "NONE" || opmode[1:0] == 2'b11 && USE_MULT != "NONE")
      $fatal(1, "DSP58: X is M with USE_MULT of MULTIPLY or A:B with NONE, OPMODE is %b", opmode);
  end
  assign P = PREG == 1 ? p_register : sum;
  assign PCOUT = P;

  assign {CARRYCASCOUT, CARRYOUT, MULTSIGNOUT, OVERFLOW, UNDERFLOW, PATTERNDETECT, PATTERNBDETECT, XOROUT} = 18'h0;
endmodule
