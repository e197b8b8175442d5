// Behavioural model of the ECP5 buffer DCCA, which drives a global net. For simulation only, and not for clocks.
module DCCA(
  input CLKI,
  input CE,
  output CLKO
);
  assign CLKO = CLKI & CE;
endmodule
