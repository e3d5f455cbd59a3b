// The page for the wheel: the sources and OpenSeadragon in built/, or in the folder that is given.
import { createHash } from "node:crypto";
import { copyFile, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const HERE = dirname(fileURLToPath(import.meta.url));
const OUT = process.argv[2] ?? join(HERE, "built");

/** Licence texts of what is bundled; an error where a file is not the one whose digest vendored.json records. */
async function checkedLicences() {
  const vendored = JSON.parse(await readFile(join(HERE, "vendored.json"), "utf8"));
  const licences = {};
  for (const [name, { version, file, sha256, licence_file }] of Object.entries(vendored)) {
    const folder = join(HERE, "node_modules", name);
    const got = createHash("sha256").update(await readFile(join(folder, file))).digest("hex");
    if (got !== sha256) {
      throw new Error(
        `${name}/${file}: its digest is ${got}, and vendored.json expects ${sha256} (version ${version}); ` +
          "run npm ci, or record the new digest after reading what changed",
      );
    }
    licences[name] = await readFile(join(folder, licence_file), "utf8");
  }
  return licences;
}

const licences = await checkedLicences();
await rm(OUT, { recursive: true, force: true });
await mkdir(join(OUT, "licences"), { recursive: true });
await build({
  absWorkingDir: HERE,
  entryPoints: [
    { in: "source/main.ts", out: "app" },
    { in: "source/style/app.css", out: "app" },
  ],
  outdir: OUT,
  bundle: true,
  minify: true,
  format: "iife",
  target: ["es2022", "chrome110", "firefox110", "safari16.4"],
  charset: "utf8",
  legalComments: "none",
  logLevel: "warning",
});
for (const name of ["index.html", "icon.svg"]) await copyFile(join(HERE, "source", name), join(OUT, name));
for (const [name, text] of Object.entries(licences)) {
  await writeFile(join(OUT, "licences", `${name}.txt`), text.replaceAll("\r\n", "\n"));
}
