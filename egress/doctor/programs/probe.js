console.log(`version ${process.version}`);
fetch(process.argv[2]).then((response) => response.text()).then(console.log, (error) => {
    console.log(error.cause ? `${error.cause.code}: ${error.cause.message}` : error.message);
    process.exitCode = 1;
});
